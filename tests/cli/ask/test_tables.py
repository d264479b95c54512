from __future__ import annotations

import csv
import json

import pytest

from mlxcel_integrations.cli.ask.tables import best_rows_first, csv_records, json_records


@pytest.mark.parametrize(
    ("text", "records"),
    [
        ("name,age\nAda,36\nAlan,41\n", ["name: Ada; age: 36", "name: Alan; age: 41"]),
        ("name;age\r\nAda;36\r\n", ["name: Ada; age: 36"]),
        ("name\tage\nAda\t36", ["name: Ada; age: 36"]),
        ('name,note\nAda,"first, and\nbest"\n', ["name: Ada; note: first, and best"]),
        ("name,age\nAda,36,London\nAlan\n", ["name: Ada; age: 36; London", "name: Alan"]),
        ("name,age\n", []),
    ],
    ids=["commas", "semicolons", "tabs", "quotes", "more and fewer values", "a header alone"],
)
def test_rows_have_the_names_of_their_columns(text: str, records: list[str]) -> None:
    assert records == list(csv_records(text))


@pytest.mark.parametrize(
    ("question", "order"),
    [
        ("In which room is Alan?", [1, 0, 2]),
        ("Who has room 31?", [2, 0, 1]),
        ("What is it?", [0, 1, 2]),
    ],
    ids=["by name", "by value", "no word in common"],
)
def test_rows_about_a_question_come_first(question: str, order: list[int]) -> None:
    rows = ["name: Ada; room: 12", "name: Alan; room: 7", "name: Grace; room: 31"]

    assert [rows[at] for at in order] == best_rows_first("\n".join(rows), question).splitlines()


def test_a_field_without_end_is_refused() -> None:
    with pytest.raises(csv.Error):
        list(csv_records('a,b\n"' + "x" * 10_000_001))


@pytest.mark.parametrize(
    ("text", "records"),
    [
        ('[{"name": "Ada", "age": 36}, {"name": "Alan"}]', ["name: Ada; age: 36", "name: Alan"]),
        ('{"name": "Ada"}\n{"name": "Alan"}\n', ["name: Ada", "name: Alan"]),
        (
            '{"port": 80, "tls": {"on": true, "hosts": ["a", "b"]}}',
            ["port: 80", "tls.on: true", "tls.hosts: a, b"],
        ),
        ('{"users": [{"name": "Ada"}]}', ["users.name: Ada"]),
        ('"text"', ["text"]),
        ("[1, null]", ["1", "null"]),
    ],
    ids=["list", "lines", "object", "list in an object", "text", "numbers"],
)
def test_json_becomes_names_and_values(text: str, records: list[str]) -> None:
    assert records == json_records(text)


@pytest.mark.parametrize("text", ["{", '{"a": 1} text', "[" * 100_000, json.dumps("x")[:-1]])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises((ValueError, RecursionError)):
        json_records(text)
