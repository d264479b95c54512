from __future__ import annotations

from mlxcel_integrations.cli.ask.passages import (
    cut_lines,
    cut_markdown,
    cut_pages,
    cut_records,
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


def test_code_is_cut_between_lines_at_a_blank_one_if_it_is_near() -> None:
    lines = [f"def function_{number}():\n    return {number}\n\n\n" for number in range(60)]
    text = "".join(lines)

    passages = cut_lines("a.py", text)

    assert len(passages) > 3
    for passage in passages:
        number = int(passage.place.removeprefix("line "))
        assert text.splitlines()[number - 1] == passage.text.splitlines()[0]
        assert passage.text.startswith("def ")
        assert len(passage.text) <= 600
    assert text.split() == " ".join(passage.text for passage in passages).split()


def test_a_line_of_any_length_is_cut() -> None:
    text = "x" * 1500 + " " + "word " * 200

    passages = cut_lines("a.log", text)

    assert "".join(text.split()) == "".join("".join(p.text for p in passages).split())
    assert max(len(passage.text) for passage in passages) <= 600
    assert [] == cut_lines("a.log", "\n\n")


def test_records_stay_whole_and_are_counted() -> None:
    passages = cut_records("a.csv", "row", ["a" * 250, "b" * 250, "c" * 250])

    assert ["row 1", "row 3"] == [passage.place for passage in passages]
    assert "a" * 250 + "\n" + "b" * 250 == passages[0].text


def test_nothing_of_a_long_record_is_lost() -> None:
    passages = cut_records("a.csv", "row", ["short", "word " * 300, "d" * 900, "last"])

    places = ["row 1", *["row 2"] * 3, *["row 3"] * 2]
    assert places == [passage.place for passage in passages]
    assert max(len(passage.text) for passage in passages) <= 605
    words = " ".join(passage.text for passage in passages).split()
    assert ["short", *["word"] * 300, "d" * 600, "d" * 300, "last"] == words


def test_the_documentation_is_that_for_users() -> None:
    pages = {passage.source for passage in documentation_passages()}

    assert {"docs/cli.md", "docs/core.md"} <= pages
    assert "docs/contributing.md" not in pages
