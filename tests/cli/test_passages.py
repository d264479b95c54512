from __future__ import annotations

from mlxcel_integrations.cli.ask.keyword_search import Keywords, fuse
from mlxcel_integrations.cli.ask.passages import (
    cut_markdown,
    cut_pages,
    cut_text,
    documentation,
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


def test_the_documentation_is_cut() -> None:
    assert {"docs/cli.md", "docs/core.md"} <= {passage.source for passage in documentation()}


def test_the_rarest_words_and_their_forms_come_first() -> None:
    texts = ["The server starts.", "The server stops with SIGTERM.", "The server runs."]

    assert 1 == Keywords(texts).rank("Which signal is stopping the server?", 2)[0]


def test_a_question_may_be_any_text() -> None:
    keywords = Keywords(['One "two" AND three.', "four"])

    assert [0] == keywords.rank('two" OR NOT (three* : ^', 2)
    assert [] == keywords.rank("zebra", 2)
    assert [] == keywords.rank("?", 2)
    assert [] == Keywords(["!", "?"]).rank("words", 2)


def test_words_need_no_spaces() -> None:
    assert [1] == Keywords(["猫はよく眠る。", "灯台の高さは三十二米。"]).rank("灯台?", 2)


def test_what_two_rankings_agree_on_comes_first() -> None:
    assert [2, 1, 3, 4] == fuse([1, 2], [3, 2, 4])
    assert [5, 6] == fuse([], [5, 6])


def test_a_rough_ranking_leaves_the_best_of_the_other_in_front() -> None:
    assert [1, 2, 3, 4] == fuse([1, 2, 3, 4], [4, 2, 1, 3], rough=True)
