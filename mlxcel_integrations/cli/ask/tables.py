"""Tables and JSON as records: a line of text for each, with the name of every value."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .keyword_search import KeywordIndex

__all__ = ["best_rows_first", "csv_records", "json_records", "records"]

_SAMPLE_CHARACTERS = 65_536
_MAX_FIELD_CHARACTERS = 10_000_000


def csv_records(text: str) -> Iterator[str]:
    """Return the rows of a CSV table as ``records`` does.

    Raises:
        csv.Error: It is not a CSV table.
    """
    csv.field_size_limit(_MAX_FIELD_CHARACTERS)
    return records(csv.reader(text.splitlines(keepends=True), delimiter=_delimiter(text)))


def records(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the rows of a table, each value with the name of its column: ``name: Ada; age: 36``.

    Args:
        rows: The names of the columns, and then the rows.
    """
    rows = iter(rows)
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
        return [_record(_paths_and_values(item)) for item in value]
    return [_record([pair]) for pair in _paths_and_values(value)]


def best_rows_first(text: str, question: str) -> str:
    """Return the records of a passage, those that share words with a question first."""
    rows = text.split("\n")
    best = KeywordIndex(rows).rank(question, len(rows))
    return "\n".join(rows[at] for at in dict.fromkeys([*best, *range(len(rows))]))


def _delimiter(text: str) -> str:
    """Return the delimiter that occurs most often in the first line."""
    first = text[:_SAMPLE_CHARACTERS].partition("\n")[0]
    return max(",;\t|", key=first.count)


def _paths_and_values(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every single value with its path: ``address.city``."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _paths_and_values(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for item in value:
            yield from _paths_and_values(item, path)
    elif isinstance(value, list):
        yield path, ", ".join(map(_text, value))
    else:
        yield path, _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _record(pairs: Iterable[tuple[str, str]]) -> str:
    # On one line, even if a value has line breaks.
    words = ((" ".join(name.split()), " ".join(value.split())) for name, value in pairs)
    return "; ".join(f"{name}: {value}" if name else value for name, value in words if value)
