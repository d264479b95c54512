from __future__ import annotations

from mlxcel_integrations.cli.chain import KeywordRetriever
from mlxcel_integrations.cli.corpus import cut

PAGE = """# Title

Before.

## First

One `paragraph`,
two lines.

```python
# no heading
code()
```

| a | table |

Another.

## Second

- a list
"""


def test_pages_are_cut_into_paragraphs_below_headings() -> None:
    found = [(passage.metadata["heading"], passage.page_content) for passage in cut({"p.md": PAGE})]
    assert [
        ("Title", "Before."),
        ("First", "One paragraph,\ntwo lines."),
        ("First", "Another."),
        ("Second", "- a list"),
    ] == found


def test_passages_name_their_page() -> None:
    pages = {"a.md": "# A\n\nx", "b.md": "# B\n\ny"}
    assert ["a.md", "b.md"] == [passage.metadata["source"] for passage in cut(pages)]


def test_retriever_puts_the_passage_with_the_rarest_words_first() -> None:
    page = "# P\n\nThe server starts.\n\nThe server stops with SIGTERM.\n\nThe server runs."
    retriever = KeywordRetriever(passages=cut({"p.md": page}), k=2)
    best = retriever.invoke("Which signal stops the server?")
    assert 2 == len(best)
    assert "The server stops with SIGTERM." == best[0].page_content


def test_retriever_takes_any_text_for_words() -> None:
    retriever = KeywordRetriever(passages=cut({"p.md": '# P\n\nOne "two" AND three.'}))
    assert 1 == len(retriever.invoke('two" OR NOT (three* : ^'))
    assert [] == retriever.invoke("zebra")
    assert [] == retriever.invoke("?")
