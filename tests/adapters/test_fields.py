"""Fields of the adapters: the order in which editors and ``help`` show them."""

from __future__ import annotations

import inspect

import pytest
from pydantic import BaseModel

from mlxcel_integrations import langchain, llama_index
from mlxcel_integrations.langchain import ChatMlxcel, MlxcelLLM
from mlxcel_integrations.llama_index import Mlxcel


class Own(ChatMlxcel):
    """A user's class."""

    mine: int = 0


@pytest.mark.parametrize("kind", [ChatMlxcel, MlxcelLLM, Mlxcel, Own])
def test_the_fields_that_are_used_most_are_shown_first(kind: type[BaseModel]) -> None:
    expected = ["model", "temperature", "max_tokens", "top_p"]

    assert expected == list(kind.model_fields)[:4]
    assert expected == named_parameters(kind)[:4]


@pytest.mark.parametrize(
    "kind",
    [
        langchain.MlxcelEmbeddings,
        langchain.MlxcelRerank,
        llama_index.MlxcelEmbedding,
        llama_index.MlxcelRerank,
    ],
)
def test_the_fields_of_vector_models_stand_in_this_order_too(kind: type[BaseModel]) -> None:
    assert "model" == next(iter(kind.model_fields))
    assert list(kind.model_fields) == named_parameters(kind)


def named_parameters(kind: type[BaseModel]) -> list[str]:
    parameters = inspect.signature(kind).parameters.values()
    return [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
