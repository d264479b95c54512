from __future__ import annotations

from mlxcel_integrations.cli.ask.llama_index_engine import PassageRetriever, stream_answer
from mlxcel_integrations.cli.ask.passages import Passage
from tests.fakes.server import FakeServer, Reply

PASSAGE = Passage("notes.md", "line 1", "The lighthouse is 32 metres tall.")


def test_a_passage_is_found_as_a_node_with_its_place() -> None:
    retriever = PassageRetriever(find=lambda question: [PASSAGE])

    [found] = retriever.retrieve("How tall?")

    assert PASSAGE.text == found.text
    assert {"source": "notes.md", "place": "line 1"} == found.metadata


def test_an_answer_streams_with_its_number_of_tokens(server: FakeServer) -> None:
    server.script(Reply.text("32 metres"))

    pieces = list(stream_answer(server.url, lambda question: [PASSAGE], "How tall?", {}, print))

    assert "32 metres" == "".join(text for text, _ in pieces)
    assert max(tokens for _, tokens in pieces) > 1
    system, human = server.posts[-1].json["messages"]
    assert PASSAGE.text in system["content"]
    assert "How tall?" == human["content"]
