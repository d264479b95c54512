"""The project's own documentation, cut into passages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import metadata
from pathlib import Path

from langchain_core.documents import Document

__all__ = ["cut", "pages"]

_CODE_AND_TABLES = re.compile(r"^```.*?^```|^[|].*?$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def pages() -> dict[str, str]:
    """Return Markdown pages by name: a checkout's, or the README that every install brings."""
    docs = Path(__file__).parents[2] / "docs"
    if (docs / "cli.md").exists():
        return {f"docs/{page.name}": page.read_text("utf-8") for page in sorted(docs.glob("*.md"))}
    return {"README.md": metadata("mlxcel-integrations")["Description"]}


def cut(pages: Mapping[str, str]) -> list[Document]:
    """Cut pages into passages, each from below one heading.

    Args:
        pages: Markdown by name.

    Returns:
        Passages with their ``source`` and ``heading``.
    """
    return [
        Document(passage, metadata={"source": source, "heading": heading})
        for source, page in pages.items()
        for heading, section in _sections(page)
        for passage in _passages(section)
    ]


def _sections(page: str) -> Iterator[tuple[str, str]]:
    # They answer no question in words, and comments in code look like headings.
    _, *parts = _HEADING.split(_CODE_AND_TABLES.sub("", page))
    return zip(parts[::2], parts[1::2], strict=True)


def _passages(section: str) -> Iterator[str]:
    """Yield paragraphs: a short prompt brings the first word early."""
    for paragraph in re.split(r"\n\s*\n", section.replace("`", "")):
        if paragraph.strip():
            yield paragraph.strip()
