"""Parts of streamed tool calls, as older servers send them: without ids or indices, or repeated.

Each way sends two calls of one tool, for Paris and for Rome.
"""

from __future__ import annotations

from typing import Any

__all__ = ["LACKING", "PARIS", "ROME", "WAYS", "Json", "Parts", "part"]

Json = dict[str, Any]


def part(arguments: str | None = None, name: str | None = None, **more: Any) -> Json:
    function = {key: text for key, text in (("name", name), ("arguments", arguments)) if text}
    return {**more, "function": function}


Parts = list[list[Json]]
PARIS, ROME = '{"city": "Paris"}', '{"city": "Rome"}'


def whole(*calls: Json) -> Parts:
    """Return two calls to two cities as one delta, given what else each has."""
    return [[part(city, "f", **more) for city, more in zip((PARIS, ROME), calls, strict=True)]]


def apart(*calls: Json) -> Parts:
    """Return the same calls, each in a delta of its own."""
    (parts,) = whole(*calls)
    return [[one] for one in parts]


def streamed(*calls: Json, first: Json | None = None, rest: Json | None = None) -> Parts:
    """Return the same calls letter by letter.

    Args:
        calls: What else the first part of each call has.
        first: What else every first part has.
        rest: What else each further part has, ``{}`` if they only have arguments.
    """
    deltas: Parts = []
    for city, more in zip((PARIS, ROME), calls, strict=True):
        deltas.append([part(None, "f", **more, **(first or {}))])
        kept = {"index": more["index"]} if "index" in more else {}
        deltas += [[part(letter, None, **kept, **(rest or {}))] for letter in city]
    return deltas


LACKING: dict[str, tuple[Json, Json]] = {
    "both": ({"index": 0, "id": "a"}, {"index": 1, "id": "b"}),
    "no id": ({"index": 0}, {"index": 1}),
    "null id": ({"index": 0, "id": None}, {"index": 1, "id": None}),
    "empty id": ({"index": 0, "id": ""}, {"index": 1, "id": ""}),
    "blank id": ({"index": 0, "id": " "}, {"index": 1, "id": " "}),
    "the same id twice": ({"index": 0, "id": "a"}, {"index": 1, "id": "a"}),
    "no index": ({"id": "a"}, {"id": "b"}),
    "null index": ({"index": None, "id": "a"}, {"index": None, "id": "b"}),
    "the same index twice": ({"index": 0, "id": "a"}, {"index": 0, "id": "b"}),
    "the same index twice, no id": ({"index": 0}, {"index": 0}),
    "the same index and id twice": ({"index": 0, "id": "a"}, {"index": 0, "id": "a"}),
    "the same id twice, no index": ({"id": "a"}, {"id": "a"}),
    "neither": ({}, {}),
    "neither, empty id": ({"id": ""}, {"id": ""}),
    "the second without": ({"index": 0, "id": "a"}, {}),
    "the first without": ({}, {"index": 0, "id": "b"}),
}
WAYS = {"whole": whole, "apart": apart, "streamed": streamed}
