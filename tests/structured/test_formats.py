"""Formats of JSON Schema: what fits them, and what does not."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mlxcel_integrations.structured.formats import FORMAT_CHECKS, fits_format
from mlxcel_integrations.structured.json_validator import JsonValidator
from mlxcel_integrations.structured.schema import SchemaMismatch

EXAMPLES: dict[str, tuple[list[str], list[str]]] = {
    "date": (["2024-02-29"], ["2023-02-29", "20240229", "2024-2-9", "", "2024-02-29T"]),
    "time": (["23:59:60Z", "08:30:00.5+02:00"], ["24:00:00Z", "08:30", "08:30:00", ""]),
    "date-time": (
        ["2024-02-29T08:30:00Z", "2024-02-29t08:30:00.123-05:00"],
        ["2024-02-29", "2024-02-30T08:30:00Z", "2024-02-29T08:30", ""],
    ),
    "duration": (["P1Y", "PT5M", "P3W", "P1DT12H", "PT0.5S"], ["P", "PT", "1D", "P1", "P1H", ""]),
    "email": (["a@b", "first.last@example.org"], ["a", "@b", "a@", "a b@c", ""]),
    "idn-email": (["ä@ö.org"], ["ä", ""]),
    "hostname": (["a", "example.org", "a-b.c"], ["-a", "a_b", "a..b", "a" * 64, "", "a b"]),
    "ipv4": (["127.0.0.1"], ["256.0.0.1", "1.2.3", "::1", ""]),
    "ipv6": (["::1", "fe80::1"], ["127.0.0.1", "::1%eth0", ":", ""]),
    "uuid": (
        ["123e4567-e89b-12d3-a456-426614174000"],
        ["123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400", ""],
    ),
    "uri": (["https://a.org/b?c=d#e", "mailto:a@b", "urn:x:1"], ["/a", "a b:c", "http://ä", ""]),
    "uri-reference": (["/a/b", "#c", "", "a:b"], ["a b", "\\a", "ä"]),
    "iri": (["https://ä.org/ö"], ["/ä", "https://a b", ""]),
    "iri-reference": (["/ä", ""], ["a b", "<a>"]),
    "json-pointer": (["", "/a/b~0c~1d/0"], ["a", "/a~2", "/~"]),
    "relative-json-pointer": (["0", "1/a", "2#"], ["/a", "01", "-1", ""]),
}


def test_each_format_has_examples() -> None:
    assert FORMAT_CHECKS.keys() == EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_texts_fit_a_format_or_not(name: str) -> None:
    fitting, others = EXAMPLES[name]

    assert fitting == [text for text in fitting if fits_format(name, text)]
    assert [] == [text for text in others if fits_format(name, text)]


@pytest.mark.parametrize(("name", "value"), [("colour", "x"), ("date", 3), (3, "x"), ([], "x")])
def test_unknown_formats_are_annotations_and_other_values_fit(name: Any, value: Any) -> None:
    assert fits_format(name, value)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("text", ["a", "1", "1.", "a.", "-", "/", "~0", "P1", ":", "a@", "a-"])
def test_long_texts_take_no_time(name: str, text: str) -> None:
    began = time.process_time()
    fits_format(name, text * 20_000 + "!")

    assert time.process_time() - began < 0.5


def test_an_answer_is_checked_by_its_formats() -> None:
    validator = JsonValidator({"type": "object", "properties": {"on": {"format": "date"}}})

    validator.check({"on": "2024-02-29"})
    with pytest.raises(SchemaMismatch, match="'2024' is not a date"):
        validator.check({"on": "2024"})
