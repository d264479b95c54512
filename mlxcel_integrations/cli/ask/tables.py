"""Tables and JSON as records: a line of text for each, with the name of every value."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["csv_records", "json_records"]

_SAMPLE = 65_536
_LONGEST_FIELD = 10_000_000


def csv_records(text: str) -> Iterator[str]:
    """Yield the rows of a table, each value with the name of its column: ``name: Ada; age: 36``.

    Raises:
        csv.Error: It is no such table.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    rows = csv.reader(text.splitlines(keepends=True), delimiter=_delimiter(text))
    header = next(rows, [])
    for row in rows:
        names = [*header, *[""] * (len(row) - len(header))]
        yield _record(zip(names, row, strict=False))


def json_records(text: str) -> list[str]:
    """Return the items of a list, or of lines of JSON; of anything else, each single value.

    Raises:
        ValueError: It is not JSON.
        RecursionError: It is nested too deeply.
    """
    try:
        value = json.loads(text)
    except ValueError:
        value = [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(value, list):
        return [_record(_values(item)) for item in value]
    return [_record([pair]) for pair in _values(value)]


def _delimiter(text: str) -> str:
    """Return the delimiter that occurs most often in the first line."""
    first = text[:_SAMPLE].partition("\n")[0]
    return max(",;\t|", key=first.count)


def _values(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every single value with its path: ``address.city``."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _values(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for item in value:
            yield from _values(item, path)
    elif isinstance(value, list):
        yield path, ", ".join(map(_text, value))
    else:
        yield path, _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _record(pairs: Iterable[tuple[str, str]]) -> str:
    parts = [
        f"{name.strip()}: {value.strip()}" if name.strip() else value.strip()
        for name, value in pairs
        if value.strip()
    ]
    return "; ".join(parts)
