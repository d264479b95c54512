"""Answers of both frameworks, as ``ask`` prints them."""

from __future__ import annotations

import importlib

import pytest

from mlxcel_integrations.cli.ask.passages import Passage
from tests.fakes.server import FakeServer, Reply

PASSAGE = Passage("notes.md", "line 1", "The lighthouse is 32 metres tall.")


@pytest.mark.parametrize("module", ["langchain_chain", "llama_index_engine"])
def test_an_answer_streams_with_its_number_of_tokens(server: FakeServer, module: str) -> None:
    stream_answer = importlib.import_module(f"mlxcel_integrations.cli.ask.{module}").stream_answer
    server.script(Reply.text("32 metres"))

    pieces = list(stream_answer(server.url, lambda question: [PASSAGE], "How tall?", {}, print))

    assert "32 metres" == "".join(text for text, _ in pieces)
    assert max(tokens for _, tokens in pieces) > 1
    system, human = server.posts[-1].json["messages"]
    assert PASSAGE.text in system["content"]
    assert "How tall?" == human["content"]
