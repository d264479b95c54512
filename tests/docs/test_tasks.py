"""The tasks of newcomers are near the first screen."""

from __future__ import annotations

import builtins
import re
import symtable
from pathlib import Path

import pytest

from tests.pages import DOCS

PAGE = DOCS / "project" / "tasks.md"
LINK = re.compile(r"\]\((?!https?:)([^)#]+\.md)?(?:#([\w-]+))?\)")
TASKS = re.findall(r"^\| (.+?) \| (\[.+\)) \|$", PAGE.read_text(), re.MULTILINE)


def links(page: Path) -> set[Path]:
    return {(page.parent / path).resolve() for path, _ in LINK.findall(page.read_text()) if path}


@pytest.fixture(scope="module")
def clicks() -> dict[Path, int]:
    """How many clicks each page is away from the first screen, up to three."""
    found = {DOCS / "index.md": 0}
    for number in (1, 2, 3):
        for page in list(found):
            found |= dict.fromkeys(links(page) - found.keys(), number)
    return found


def section(page: Path, anchor: str) -> str:
    """Return what stands below a heading, or the whole page."""
    text = page.read_text()
    for heading in re.finditer(r"^#+ (.+)$", text, re.MULTILINE):
        if re.sub(r"[^\w-]", "", heading[1].lower().replace(" ", "-")) == anchor:
            return text[heading.end() :]
    assert not anchor, f"{page} has no #{anchor}"
    return text


def unknown_names(code: str) -> set[str]:
    """Return the names that a program uses, and neither defines nor imports."""
    top = symtable.symtable(code, "paste", "exec")
    tables = [top]
    for table in tables:
        tables += table.get_children()
    used = {
        symbol.get_name()
        for table in tables
        for symbol in table.get_symbols()
        if symbol.is_global() and symbol.is_referenced()
    }
    known = {
        symbol.get_name()
        for symbol in top.get_symbols()
        if symbol.is_assigned() or symbol.is_imported()
    }
    return used - known - set(dir(builtins))


def test_there_are_twenty() -> None:
    assert 20 == len(TASKS)


@pytest.mark.parametrize(("task", "link"), TASKS, ids=[task for task, _ in TASKS])
def test_a_task_is_done_within_three_clicks_and_a_paste(
    task: str, link: str, clicks: dict[Path, int]
) -> None:
    ((path, anchor),) = LINK.findall(link)
    page = (PAGE.parent / path).resolve()

    assert clicks[page] <= 3
    before, fence, _ = section(page, anchor).partition("\n```")
    assert fence
    # What is to be pasted stands in this very section.
    assert not re.search(r"^## ", before, re.MULTILINE) or not anchor


@pytest.mark.parametrize(("task", "link"), TASKS, ids=[task for task, _ in TASKS])
def test_a_paste_stands_alone_behind_a_line_that_installs_what_it_needs(
    task: str, link: str
) -> None:
    ((path, anchor),) = LINK.findall(link)
    page = (PAGE.parent / path).resolve()
    below = section(page, anchor)
    above = page.read_text().removesuffix(below)

    before, _, block = below.partition("\n```python\n")

    assert "pip install" in above + before
    assert set() == unknown_names(block.partition("\n```\n")[0])


def test_a_name_from_an_earlier_block_is_unknown() -> None:
    assert {"llm", "text"} == unknown_names(
        "import re\ndef ask(question):\n    return llm.chat(question + text)\nprint(ask, re)\n"
    )
