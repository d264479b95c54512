"""Errors of this package that are errors of a framework, too, keep everything they hold."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from mlxcel_integrations import StructuredOutputError, StructuredOutputTruncated
from tests.adapters.frameworks import Framework, LangChain

ERRORS = [
    StructuredOutputError("It does not fit.", raw="[]", finish_reason="stop", problem="a list"),
    StructuredOutputTruncated("Cut.", raw='{"a"', finish_reason="length", partial={"a": 1}),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_keeps_its_content_and_any_attribute(
    framework: Framework, error: StructuredOutputError
) -> None:
    error.a_later_attribute = "kept"  # type: ignore[attr-defined]  # as a later version may add
    cause = KeyError("x")
    name, translation = (
        ("langchain.error_translation", "langchain_errors")
        if isinstance(framework, LangChain)
        else ("llama_index.mlxcel_errors", "llama_index_errors")
    )
    translated: Any = getattr(importlib.import_module(f"mlxcel_integrations.{name}"), translation)

    with pytest.raises(type(error)) as caught, translated:
        raise error from cause

    dual = caught.value
    assert isinstance(dual, ValueError)
    assert type(error) is not type(dual)
    assert str(error) == str(dual)
    assert vars(error).items() <= vars(dual).items()
    assert cause is dual.__cause__
