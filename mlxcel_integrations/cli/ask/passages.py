"""Passages of files: short enough for a prompt, each with its place in the file."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import metadata
from pathlib import Path

__all__ = [
    "Passage",
    "cut_lines",
    "cut_markdown",
    "cut_pages",
    "cut_records",
    "cut_text",
    "documentation_passages",
]

PASSAGE_SIZES = (300, 600)
"""Smallest and largest passage in characters; it ends with a paragraph or sentence if possible."""

_FENCE_OR_HEADING = re.compile(r"^(?:(?P<fence>```|~~~)|#{1,6} +(?P<heading>.+?) *#*$)", re.M)


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a file.

    Attributes:
        source: The file.
        place: Where in the file: a page, a line, or a heading in quotation marks.
        text: The text itself.
    """

    source: str
    place: str
    text: str


def cut_pages(source: str, pages: Sequence[str]) -> list[Passage]:
    """Cut the pages of a document into passages."""
    return [
        Passage(source, f"page {number}", text)
        for number, page in enumerate(pages, 1)
        for _, text in _cut(page)
    ]


def cut_text(source: str, text: str) -> list[Passage]:
    """Cut a text into passages; lines are counted from 1."""
    ends = [found.end() for found in re.finditer("\n", text)]
    return [
        Passage(source, f"line {bisect_right(ends, start) + 1}", piece)
        for start, piece in _cut(text)
    ]


def cut_lines(source: str, text: str) -> list[Passage]:
    """Cut code, a log or a very long text between lines, at a blank one if one is near."""
    smallest, largest = PASSAGE_SIZES
    passages, line, start = [], 1, 0
    while start < len(text):
        end = start + largest
        if end < len(text):
            end = (
                text.rfind("\n\n", start + smallest, end) + 1
                or text.rfind("\n", start, end) + 1
                or text.rfind(" ", start, end) + 1
                or end
            )
        piece = text[start:end]
        if stripped := piece.strip("\n").rstrip():
            blank = len(piece) - len(piece.lstrip("\n"))
            passages.append(Passage(source, f"line {line + blank}", stripped))
        line += piece.count("\n")
        start = end
    return passages


def cut_records(source: str, unit: str, records: Iterable[str]) -> list[Passage]:
    """Put whole records of a table into passages, as many as fit; they are counted from 1.

    A record that is too long for a passage is cut.

    Args:
        source: The file.
        unit: Name of a record, such as ``row``.
        records: Their texts.
    """
    passages: list[Passage] = []
    lines: list[str] = []
    first, size = 1, 0
    for number, line in _numbered_lines(records):
        if lines and size + len(line) > PASSAGE_SIZES[1]:
            passages.append(Passage(source, f"{unit} {first}", "\n".join(lines)))
            lines, size = [], 0
        if not lines:
            first = number
        lines.append(line)
        size += len(line) + 1
    if lines:
        passages.append(Passage(source, f"{unit} {first}", "\n".join(lines)))
    return passages


def _numbered_lines(records: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield each record with its number, a long one in pieces with the same number."""
    for number, record in enumerate(records, 1):
        if len(record) <= PASSAGE_SIZES[1]:
            yield number, record
        else:
            yield from ((number, piece.text) for piece in cut_lines("", record))


def cut_markdown(source: str, text: str) -> list[Passage]:
    """Cut a Markdown page into passages, first at its headings."""
    from semantic_text_splitter import MarkdownSplitter

    splitter = MarkdownSplitter(PASSAGE_SIZES)
    return [
        Passage(source, heading, piece)
        for heading, section in _sections(text)
        for piece in splitter.chunks(section)
    ]


def documentation_passages() -> list[Passage]:
    """Return the documentation for users: the pages of a checkout, or the installed README."""
    docs = Path(__file__).parents[3] / "docs"
    if (docs / "cli.md").exists():
        return [
            passage
            for page in sorted(docs.glob("*.md"))
            if page.name != "contributing.md"
            for passage in cut_markdown(f"docs/{page.name}", page.read_text("utf-8"))
        ]
    return cut_markdown("README.md", str(metadata("mlxcel-integrations")["Description"]))


def _cut(text: str) -> list[tuple[int, str]]:
    from semantic_text_splitter import TextSplitter

    return TextSplitter(PASSAGE_SIZES).chunk_indices(text)


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield each heading in quotation marks, with the text from there to the next."""
    start, end, heading = 0, 0, "the beginning"
    for found in _headings(text):
        # A heading with no text below it is part of the next section.
        if text[end : found.start()].strip():
            yield heading, text[start : found.start()]
            start = found.start()
        end, heading = found.end(), f'"{found["heading"].replace("`", "")}"'
    yield heading, text[start:]


def _headings(text: str) -> Iterator[re.Match[str]]:
    """Yield the headings, without comments in fenced code, which look the same."""
    fence = None
    for found in _FENCE_OR_HEADING.finditer(text):
        if found["fence"]:
            fence = None if fence == found["fence"] else fence or found["fence"]
        elif fence is None:
            yield found
