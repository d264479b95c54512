"""What the table of the comparison says of our classes is what they do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.comparison import ON_THE_ENGINE, OURS, SCRIPTED, Contender, Question, cell

PAGE = Path(__file__).parents[2] / "docs" / "comparison.md"
ROWS = [
    [part.strip() for part in line.strip("|").split("|")]
    for line in re.findall(r"^\|.*\|$", PAGE.read_text(), re.MULTILINE)
]
SAID = {row[0]: dict(zip(ROWS[0][1:], row[1:], strict=True)) for row in ROWS[2:]}


def test_the_table_has_the_answers_to_all_questions() -> None:
    assert [question.__doc__ for question in (*SCRIPTED, *ON_THE_ENGINE)] == list(SAID)


@pytest.mark.parametrize("one", OURS, ids=lambda one: one.name)
@pytest.mark.parametrize("question", SCRIPTED, ids=lambda question: question.__name__)
def test_ours_do_what_the_table_says(one: Contender, question: Question) -> None:
    assert SAID[question.__doc__ or ""][f"`{one.name}`"] == cell(one, question)
