"""Docstrings: examples run and print what they show, and modules begin with what they hold."""

from __future__ import annotations

import ast
import doctest
import importlib

import pytest

from tests.structure.imports import modules

MODULES = (
    "client",
    "async_client",
    "supervisor.managed_server",
    "langchain.chat_models",
    "langchain.llms",
    "langchain.embeddings",
    "langchain.decisions",
    "llama_index.llm",
    "llama_index.embeddings",
    "llama_index.selector",
    "llama_index.tokenizer",
    "embedded",
)


@pytest.mark.engine
@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_run(name: str, engine: None) -> None:
    module = importlib.import_module(f"mlxcel_integrations.{name}")

    result = doctest.testmod(module)

    assert (0, True) == (result.failed, result.attempted > 0)


def test_module_docstrings_name_the_thing_first() -> None:
    first = {name: (ast.get_docstring(tree) or "").split()[0] for name, tree in modules().items()}
    riddles = ("What", "How", "Where", "Whether", "Which", "From")

    assert [] == [name for name, word in first.items() if word in riddles]
