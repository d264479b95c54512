from __future__ import annotations

from mlxcel_integrations.cli.ask.llama_index_engine import PassageRetriever
from mlxcel_integrations.cli.ask.passages import Passage

PASSAGE = Passage("notes.md", "line 1", "The lighthouse is 32 metres tall.")


def test_a_passage_is_found_as_a_node_with_its_place() -> None:
    retriever = PassageRetriever(find=lambda question: [PASSAGE])

    [found] = retriever.retrieve("How tall?")

    assert PASSAGE.text == found.text
    assert {"source": "notes.md", "place": "line 1"} == found.metadata
