"""The questions of the evaluation fit the documentation, of which they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def corpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "notebooks")
    import corpus

    yield corpus
    del sys.modules["corpus"]


def test_each_question_is_answered_by_sections_that_exist(corpus: Any) -> None:
    """Whoever renames a heading or moves what stands below it changes the questions, too."""
    questions = json.loads((ROOT / "notebooks" / "questions.json").read_text("utf-8"))
    places = {section.place for section in corpus.sections(ROOT / "docs")}

    assert len(questions) >= 30
    assert all(question["answers"] for question in questions)
    assert set() == {answer for question in questions for answer in question["answers"]} - places


def test_a_page_is_cut_at_its_headings_and_not_in_its_code(corpus: Any, tmp_path: Path) -> None:
    page = tmp_path / "boats.md"
    page.write_text(
        "# Boats\n\nThey float.\n\n## Empty\n\n## Rowing\n\n```python\n# no heading\nrow()\n```\n"
    )

    cut = corpus.sections(tmp_path)

    assert ["boats.md # Boats", "boats.md # Rowing"] == [section.place for section in cut]
    assert "Boats\n\nThey float." == cut[0].text
    assert "Boats: Rowing\n\n```python\n# no heading\nrow()\n```" == cut[1].text
    assert 2 == len({section.id for section in cut})
