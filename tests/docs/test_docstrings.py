"""The examples in docstrings run, and print what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = (
    "client",
    "async_client",
    "supervisor.managed_server",
    "langchain.chat_models",
    "langchain.llms",
    "langchain.embeddings",
    "llama_index.llm",
    "llama_index.embeddings",
    "llama_index.tokenizer",
    "embedded",
)


@pytest.mark.engine
@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_run(name: str, engine: None) -> None:
    module = importlib.import_module(f"mlxcel_integrations.{name}")

    result = doctest.testmod(module)

    assert (0, True) == (result.failed, result.attempted > 0)
