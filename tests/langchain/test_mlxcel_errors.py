"""Errors of this package that LangChain's handlers catch, too."""

from __future__ import annotations

import pytest
from langchain_core import exceptions as lc

from mlxcel_integrations import (
    MlxcelError,
    MlxcelServerError,
    MlxcelStreamError,
    MlxcelTimeoutError,
    StructuredOutputError,
    StructuredOutputTruncated,
)
from mlxcel_integrations.langchain.mlxcel_errors import from_mlxcel


@pytest.mark.parametrize(
    ("error", "langchain"),
    [
        (MlxcelTimeoutError("late", stderr="loading"), lc.ModelTimeoutError),
        (MlxcelServerError("lost", stderr="killed", returncode=-9), lc.ModelConnectionError),
        (MlxcelStreamError("cut short", partial="one"), lc.ModelAPIError),
        (StructuredOutputError("no", raw="x", finish_reason="stop"), lc.OutputParserException),
        (
            StructuredOutputTruncated("cut", raw="{", finish_reason="length", partial={}),
            lc.OutputParserException,
        ),
    ],
)
def test_an_error_keeps_its_content(error: MlxcelError, langchain: type) -> None:
    dual = from_mlxcel(error)

    assert isinstance(dual, type(error))
    assert isinstance(dual, langchain)
    assert str(error) == str(dual)
    assert vars(error).items() <= vars(dual).items()


def test_wrong_use_is_no_error_of_langchain() -> None:
    error = MlxcelError("messages[0] cannot be sent")

    assert error is from_mlxcel(error)
