"""Repetition: what is left, and what an answer may well repeat."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest

from mlxcel_integrations.protocol.answers.json_end import JSONEnd
from mlxcel_integrations.protocol.answers.repetition import RepetitionDetector

RANDOM = random.Random(1)


def noticed(text: str, size: int) -> int | None:
    """Return the place at which a text that comes in pieces is left, None if it never is."""
    detector, end = RepetitionDetector(), JSONEnd()
    for place in range(0, len(text), size):
        piece = text[place : place + size]
        end.feed(piece)
        if detector.feed(piece, in_string=end.in_string):
            return place + size
    return None


SIZES = pytest.mark.parametrize("size", [1, 3, 17, 100])


@SIZES
@pytest.mark.parametrize(
    ("text", "latest"),
    [
        ("{" + " " * 1000, 260),
        ('{"a":' + "\n" * 1000, 300),
        ('{"a": 1' + "\n  \t" * 300, 300),
        ('{"a": "' + "ha" * 1000, 1000),
        ('{"a": "' + "-" * 1000, 1000),
        ('{"a": "' + "c01_" * 1000, 1000),
        ('{"a": "' + "I do not know. Let me try it again. " * 100, 1000),
        ('{"a": "' + "\\n" * 1000, 1000),
        ('{"a": [' + '{"name": "John", "price": 1000},' * 400, 10_000),
        ('{"a": [' + "0, " * 5000, 10_000),
        ('{"a": 1' + "0" * 12_000, 600),
        ('{"a": 0.' + "142857" * 200, 600),
        ('{"a": 3.' + "".join(RANDOM.choices("0123456789", k=1000)), 600),
        ("[" * 12_000, 10_000),
    ],
)
def test_an_answer_that_finds_no_end_is_left(text: str, latest: int, size: int) -> None:
    place = noticed(text, size)

    assert place is not None
    assert place <= latest + size


@SIZES
@pytest.mark.parametrize(
    "value",
    [
        {"zeros": [0] * 400},
        {"matrix": [[0, 1] for _ in range(60)]},
        {"line": "-" * 400},
        {"places": [{"name": f"Place {at}", "x": at} for at in range(200)]},
        {"numbers": list(range(1000))},
        {"data": base64.b64encode(RANDOM.randbytes(3000)).decode()},
        {"large": 10**308, "digits": str(7**400), "many": [10**99] * 20},
        {"poem": "Row, row, row your boat, gently down the stream. " * 7},
        {"deep": [[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]},
    ],
    ids=lambda value: next(iter(value)),
)
def test_an_answer_that_may_be_meant_so_is_read_on(value: Any, size: int) -> None:
    assert noticed(json.dumps(value), size) is None
    assert noticed(json.dumps(value, indent=8), size) is None
