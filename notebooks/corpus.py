"""The documentation of this project, cut into sections: what the notebooks search."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import numpy as np

DOCS = Path("../docs")


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it, as far as the next heading."""

    page: str
    heading: str
    text: str

    @property
    def id(self) -> str:
        """A UUID that is the same for the same text, in every run and every framework."""
        return str(uuid5(NAMESPACE_URL, self.page + self.text))

    @property
    def place(self) -> str:
        """Where a reader finds it, as ``page.md # Heading``."""
        return f"{self.page} # {self.heading}"


def sections(folder: Path = DOCS) -> list[Section]:
    """Return the sections of all Markdown pages of a folder."""
    return [section for page in sorted(folder.glob("*.md")) for section in cut(page)]


def cut(page: Path) -> Iterator[Section]:
    """Yield the sections of a page that have a text."""
    title = heading = ""
    lines: list[str] = []
    in_code = False
    for line in [*page.read_text("utf-8").splitlines(), "# "]:
        in_code ^= line.startswith("```")
        # A comment in code begins like a heading.
        if in_code or not line.startswith("#"):
            lines.append(line)
            continue
        # What a page says to the site stands before its first heading.
        if heading and (body := "\n".join(lines).strip()):
            about = title if heading == title else f"{title}: {heading}"
            yield Section(page.name, heading, f"{about}\n\n{body}")
        heading, lines = line.lstrip("# "), []
        title = title or heading


def passages(text: str, size: int = 300) -> list[str]:
    """Return a text in passages of about so many characters, each with the first line of all.

    A short passage is about one thing, and so is its vector.
    """
    about, _, body = text.partition("\n\n")
    found: list[str] = []
    for piece in pieces(body, size):
        if found and len(found[-1]) + len(piece) <= size:
            found[-1] += f"\n\n{piece}"
        else:
            found.append(piece)
    return [f"{about}\n\n{passage}" for passage in found]


def pieces(text: str, size: int) -> Iterator[str]:
    """Yield the paragraphs of a text; of a long one, its lines or sentences."""
    for paragraph in text.split("\n\n"):
        if len(paragraph) <= size:
            yield paragraph
        else:
            yield from re.split(r"\n|(?<=[.!?]) ", paragraph)


def mean_of_passages(
    texts: list[str], embed: Callable[[list[str]], list[list[float]]]
) -> list[list[float]]:
    """Return a vector for each text: the mean of those of its passages.

    Args:
        texts: The texts.
        embed: Returns the vectors of passages.
    """
    parts = [passages(text) for text in texts]
    vectors = iter(embed([passage for part in parts for passage in part]))
    means = [np.mean([next(vectors) for _ in part], axis=0) for part in parts]
    return [(mean / np.linalg.norm(mean)).tolist() for mean in means]
