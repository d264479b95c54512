"""What the evaluation contains, so that no example of the training contains it."""

from __future__ import annotations

import json
import re
from pathlib import Path

__all__ = ["NAMES", "NUMBERS", "is_in_evaluation"]

_EVALUATION = [
    json.loads((Path(__file__).parents[1] / "evaluation" / name).read_text(encoding="utf-8"))
    for name in ("questions.json", "held_out.json")
]
_TEXT = " ".join(text for data in _EVALUATION for text in data["texts"].values())
_NUMBER = re.compile(r"\d[\d.,:]*\d|\d")
_NAME = re.compile(r"[A-Z][a-z]+")
# Words that begin sentences, days and months are no names.
_NO_NAMES = (
    "After All An At Before Bicycles Bridge Captain Children Coffee Cook Do He In It Its Lessons "
    "Lorries Lunch Many Most No Not On Please Pupils School She The They Trains Visitors You "
    "January February March April May June July August September October November December "
    "Monday Mondays Tuesday Tuesdays Wednesday Wednesdays Thursday Thursdays Friday Fridays "
    "Saturday Saturdays Sunday Sundays"
)

NUMBERS = {number.replace(",", "") for number in _NUMBER.findall(_TEXT)} | set(
    _NUMBER.findall(_TEXT)
)
NAMES = set(_NAME.findall(_TEXT)) - set(_NO_NAMES.split())
_QUESTIONS = {asked["question"] for data in _EVALUATION for asked in data["questions"]}


def is_in_evaluation(text: str, questions: list[str]) -> bool:
    """Return whether the evaluation has a question, or a number or name of a text."""
    return (
        not NUMBERS.isdisjoint(_NUMBER.findall(text))
        or not NAMES.isdisjoint(_NAME.findall(text))
        or not _QUESTIONS.isdisjoint(questions)
    )
