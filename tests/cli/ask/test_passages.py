from __future__ import annotations

from mlxcel_integrations.cli.ask.passages import (
    cut_markdown,
    cut_pages,
    cut_text,
    documentation_passages,
)

SENTENCE = "The keeper lights the lamp at dusk. "
PAGE = f"""Before.

# The `ask` command

{SENTENCE * 16}

```python
# no heading
code()
```

## Second

### Third ###

| a | table |
| --- | --- |

~~~
```
# no heading either
~~~
"""


def test_passages_of_markdown_name_the_heading_above() -> None:
    passages = cut_markdown("p.md", PAGE)

    places = ["the beginning", '"The ask command"', '"The ask command"', '"Third"']
    assert places == [passage.place for passage in passages]
    assert "# no heading" in passages[2].text
    assert "## Second" in passages[3].text
    assert "# no heading either" in passages[3].text


def test_passages_of_a_text_name_their_line() -> None:
    text = "\n".join(f"{SENTENCE}{number}" for number in range(100))

    passages = cut_text("t.txt", text)

    assert len(passages) > 5
    lines = text.split("\n")
    for passage in passages:
        assert lines[int(passage.place.removeprefix("line ")) - 1].startswith(passage.text[:30])


def test_passages_of_a_document_name_their_page() -> None:
    places = [passage.place for passage in cut_pages("d.pdf", ["One.", "  ", SENTENCE * 30])]

    assert ["page 1", "page 3"] == list(dict.fromkeys(places))


def test_nothing_but_space_is_lost() -> None:
    text = "\r\n".join(["word " * 300, "ü" * 2000, "", "\t- a list", "日本語の文章。" * 200])

    cut = "".join(passage.text for passage in cut_text("t.txt", text))

    assert "".join(text.split()) == "".join(cut.split())
    assert max(len(passage.text) for passage in cut_text("t.txt", text)) <= 600


def test_the_documentation_is_that_for_users() -> None:
    pages = {passage.source for passage in documentation_passages()}

    assert {"docs/cli.md", "docs/core.md"} <= pages
    assert "docs/contributing.md" not in pages
