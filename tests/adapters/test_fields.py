"""Fields of the adapters: the order in which editors and ``help`` show them."""

from __future__ import annotations

import importlib
import inspect
from typing import get_args

import pytest
from pydantic import BaseModel

from mlxcel_integrations.adapters.option_values import OptionError

PACKAGES = {"langchain": "langchain_core", "llama_index": "llama_index.core"}
GENERATING = ["langchain.ChatMlxcel", "langchain.MlxcelLLM", "llama_index.Mlxcel"]
OTHERS = [
    "langchain.MlxcelEmbeddings",
    "langchain.MlxcelRerank",
    "llama_index.MlxcelEmbedding",
    "llama_index.MlxcelRerank",
]
USED_MOST = ["model", "temperature", "max_tokens", "top_p"]


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> type[BaseModel]:
    """The class of this name, if its framework is installed."""
    package, _, name = request.param.partition(".")
    pytest.importorskip(PACKAGES[package], reason="this framework is not installed")
    found: type[BaseModel] = getattr(
        importlib.import_module(f"mlxcel_integrations.{package}"), name
    )
    return found


@pytest.mark.parametrize("kind", GENERATING, indirect=True)
def test_the_fields_that_are_used_most_are_shown_first(kind: type[BaseModel]) -> None:
    assert USED_MOST == list(kind.model_fields)[:4]
    assert USED_MOST == named_parameters(kind)[:4]


@pytest.mark.parametrize("kind", ["langchain.ChatMlxcel"], indirect=True)
def test_so_they_are_in_the_class_of_a_user(kind: type[BaseModel]) -> None:
    class Own(kind):  # type: ignore[misc, valid-type]  # a class that is found by its name
        """A user's class."""

        mine: int = 0

    assert USED_MOST == list(Own.model_fields)[:4]
    assert USED_MOST == named_parameters(Own)[:4]


@pytest.mark.parametrize("kind", OTHERS, indirect=True)
def test_the_fields_of_vector_models_stand_in_this_order_too(kind: type[BaseModel]) -> None:
    assert "model" == next(iter(kind.model_fields))
    assert list(kind.model_fields) == named_parameters(kind)


@pytest.mark.parametrize("kind", [*GENERATING, *OTHERS], indirect=True)
def test_no_number_may_be_true_or_false(kind: type[BaseModel]) -> None:
    numbers = [
        name
        for name, field in kind.model_fields.items()
        if {int, float} & {field.annotation, *get_args(field.annotation)}
    ]
    assert {"timeout", "keep_prompts_mb"} < {*numbers}

    model = kind(model="embedded")
    for name in numbers:
        with pytest.raises(OptionError, match=f"^{name}=True must be a (whole )?number, not bool"):
            kind(model="embedded", **{name: True})
    for name in ("timeout", "keep_prompts_mb"):
        with pytest.raises(OptionError, match=f"^{name}=False must be a (whole )?number, not bool"):
            setattr(model, name, False)


def named_parameters(kind: type[BaseModel]) -> list[str]:
    parameters = inspect.signature(kind).parameters.values()
    return [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
