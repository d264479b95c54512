from __future__ import annotations

from mlxcel_integrations.cli.ask.langchain_chain import PassageRetriever
from mlxcel_integrations.cli.ask.passages import Passage

PASSAGE = Passage("notes.md", "line 1", "The lighthouse is 32 metres tall.")


def test_a_passage_is_found_as_a_document_with_its_place() -> None:
    retriever = PassageRetriever(find=lambda question: [PASSAGE])

    [found] = retriever.invoke("How tall?")

    assert PASSAGE.text == found.page_content
    assert {"source": "notes.md", "place": "line 1"} == found.metadata
