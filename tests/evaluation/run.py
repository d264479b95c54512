"""Questions about short texts, asked in the prompts of the frameworks, and the marks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from mlxcel_integrations.langchain import ChatMlxcel
from mlxcel_integrations.llama_index import Mlxcel
from tests.evaluation.prompts import FORMS

__all__ = ["DATA", "HELD_OUT", "Mark", "evaluate", "is_clean", "is_right", "table"]


def _read(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return data


DATA = _read("questions.json")
HELD_OUT = _read("held_out.json")
"""Questions about other texts, which no setting is chosen by."""


@dataclass(frozen=True)
class Mark:
    """How an answer was: right or not, clean or not."""

    form: str
    kind: str
    question: str
    answer: str
    right: bool
    clean: bool


def evaluate(
    data: dict[str, Any] = DATA, every: int = 1, shown: TextIO | None = None
) -> list[Mark]:
    """Ask the questions.

    Args:
        data: Texts, and questions about them.
        every: In each form, one question of so many is asked, another one in each.
        shown: Where to print each answer that is wrong or not clean.
    """
    marks = []
    with (
        ChatMlxcel(model="embedded", temperature=0, max_tokens=60) as chat,
        Mlxcel(model="embedded", temperature=0, max_tokens=60) as llm,
    ):
        for at, (form, ask) in enumerate(FORMS.items()):
            for asked in data["questions"][at % every :: every]:
                answer = ask(chat, llm, data["texts"][asked["text"]], asked["question"])
                right = is_right(answer, asked["answers"])
                mark = Mark(form, asked["kind"], asked["question"], answer, right, is_clean(answer))
                if shown and not (mark.right and mark.clean):
                    print(f"{form}: {asked['question']} {answer!r}", file=shown)
                marks.append(mark)
    return marks


def is_right(answer: str, expected: Iterable[str]) -> bool:
    """Return whether an answer has one of the expected texts.

    Args:
        answer: The answer.
        expected: The texts: ``&`` stands between parts of one, ``!`` before what must be missing.
    """
    return any(all(_has(answer, part) for part in text.split("&")) for text in expected)


def _has(answer: str, part: str) -> bool:
    if part.startswith("!"):
        return not _has(answer, part[1:])
    # As a word of its own, or its beginning: "1" is not in "10", but "bun" is in "buns". A "no" is
    # not in "north".
    end = r"\b" if part == "no" else r"(?!\d|[.,:]\d)"
    pattern = rf"(?<![\w.,:]){re.escape(part)}{end}"
    return re.search(pattern, answer, re.IGNORECASE) is not None


def is_clean(answer: str) -> bool:
    """Return whether an answer is nothing but an answer: one paragraph, no other turn, no echo."""
    lines = [line.strip() for line in answer.splitlines()]
    return (
        bool(answer)
        and answer == answer.strip()
        and "" not in lines
        and len(lines) == len(set(lines))
        and not re.search(r"(?i)\b(answer|question|query|context):", answer)
        and "<" not in answer
        and not re.search(r"---|^#", answer, re.MULTILINE)
        and answer != "Empty Response"
    )


def table(marks: list[Mark]) -> str:
    """Return the marks as a table in Markdown: by form, by kind, and all."""
    rows = ["| | asked | right | clean |", "| --- | ---: | ---: | ---: |"]
    for name, some in _groups(marks):
        right, clean = (sum(getattr(mark, what) for mark in some) for what in ("right", "clean"))
        rows.append(f"| {name} | {len(some)} | {right / len(some):.0%} | {clean / len(some):.0%} |")
    return "\n".join(rows)


def _groups(marks: list[Mark]) -> Iterator[tuple[str, list[Mark]]]:
    for what in ("form", "kind"):
        for name in dict.fromkeys(getattr(mark, what) for mark in marks):
            yield name, [mark for mark in marks if getattr(mark, what) == name]
    yield "all", marks
