"""What of a server's JSON is taken for what it should be, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations.protocol.validation import (
    are_calls,
    are_logprobs,
    are_timings,
    as_count,
    as_object,
    as_text,
    error_text,
    is_json,
    is_text,
    is_usage,
)


def nested(levels: int) -> Any:
    """Return objects and lists within each other, so many levels in all."""
    value: Any = {}
    for level in range(levels - 1):
        value = [0, value] if level % 2 else {"a": value}
    return value


MAX_SCHEMA_DEPTH: dict[str, Any] = nested(16)
TOO_DEEP = {"a": MAX_SCHEMA_DEPTH}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, 1), (8192, 8192), *((wrong, None) for wrong in (0, -1, True, 1.0, "1", None, [1]))],
)
def test_counts_are_whole_numbers_above_zero(value: Any, expected: int | None) -> None:
    assert expected == as_count(value)


@pytest.mark.parametrize(
    ("value", "text", "is_one"),
    [
        ("a", "a", True),
        ("", "", True),
        (None, None, True),
        (1, None, False),
        (b"a", None, False),
        (["a"], None, False),
    ],
)
def test_texts_are_nothing_else(value: Any, text: str | None, is_one: bool) -> None:
    assert (text, is_one) == (as_text(value), is_text(value))


@pytest.mark.parametrize(
    ("value", "expected"), [({"a": 1}, {"a": 1}), ([], {}), (None, {}), ("a", {})]
)
def test_what_is_no_object_is_an_empty_one(value: Any, expected: dict[str, Any]) -> None:
    assert expected == as_object(value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("no", "no"),
        ({"message": "no", "code": 5}, "no"),
        ({"message": "", "code": 5}, "{'message': '', 'code': 5}"),
        ({"code": 5}, "{'code': 5}"),
        ({"message": ["a", {"b": 1}]}, "['a', {'b': 1}]"),
        (None, "None"),
        ("x" * 2000, "x" * 2000),
        ("x" * 2001, "x" * 2000 + "…"),
        ({"message": MAX_SCHEMA_DEPTH}, str(MAX_SCHEMA_DEPTH)),
        ({"message": TOO_DEEP}, "an error that is nested too deeply to show"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_errors_are_told_in_any_form_and_in_short(error: Any, expected: str) -> None:
    assert expected == error_text(error)


CALL = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], True),
        ([CALL, CALL], True),
        ([{}], True),
        ([{"index": None, "id": None, "function": None}], True),
        ([{**CALL, "function": {"arguments": '{"a'}}], True),
        ([{**CALL, "function": {"name": None, "arguments": None}}], True),
        *((wrong, False) for wrong in (None, CALL, "a", ["a"], [CALL, None])),
        *(
            ([{**CALL, **wrong}], False)
            for wrong in (
                {"index": "0"},
                {"index": True},
                {"index": 0.5},
                {"id": 1},
                {"function": "f"},
                {"function": {"name": 1, "arguments": ""}},
                {"function": {"name": "f", "arguments": {}}},
            )
        ),
    ],
    ids=str,
)
def test_what_is_a_part_of_a_tool_call(value: Any, expected: bool) -> None:
    assert expected is are_calls(value)


BEYOND = 2**1023
ENTRY = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
BEST = [{"token": "a", "logprob": None}, {"token": "b", "logprob": -3, "bytes": None}]
COMPLETION = {"tokens": ["a", "b"], "token_logprobs": [-1, None]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, True),
        ({"content": None}, True),
        ({"content": []}, True),
        ({"content": [ENTRY, {"token": ""}, {**ENTRY, "top_logprobs": BEST}]}, True),
        ({"content": [{**ENTRY, "bytes": None, "top_logprobs": None}]}, True),
        ({"content": [{**ENTRY, "logprob": 1 - BEYOND}]}, True),
        (COMPLETION, True),
        ({"tokens": [], "token_logprobs": []}, True),
        ({**COMPLETION, "top_logprobs": None}, True),
        ({**COMPLETION, "top_logprobs": [{"a": -1, "c": -2.5}]}, True),
        ({**COMPLETION, "top_logprobs": [None, {"b": None}]}, True),
        ({"refusal": MAX_SCHEMA_DEPTH["a"]}, True),
        ({"refusal": MAX_SCHEMA_DEPTH}, False),
        *((wrong, False) for wrong in (None, [], "a", 1)),
        *(
            ({"content": wrong}, False)
            for wrong in (
                1,
                ENTRY,
                ["a"],
                [ENTRY, {}],
                [{**ENTRY, "token": 1}],
                [{**ENTRY, "logprob": "low"}],
                [{**ENTRY, "bytes": "a"}],
                [{**ENTRY, "logprob": BEYOND}],
                [{**ENTRY, "bytes": ["a"]}],
                [{**ENTRY, "bytes": [None]}],
                [{**ENTRY, "top_logprobs": {"a": -1}}],
                [{**ENTRY, "top_logprobs": [{"token": "b", "logprob": True}]}],
                [{**ENTRY, "top_logprobs": ["b"]}],
            )
        ),
        *(
            ({**COMPLETION, **wrong}, False)
            for wrong in (
                {"tokens": "ab"},
                {"tokens": ["a", 1]},
                {"tokens": ["a"]},
                {"token_logprobs": None},
                {"token_logprobs": [-1, "low"]},
                {"token_logprobs": [-1, -BEYOND]},
                {"top_logprobs": [{"a": BEYOND}]},
                {"token_logprobs": [-1]},
                {"top_logprobs": [{}, {}, {}]},
                {"top_logprobs": {"a": -1}},
                {"top_logprobs": ["a"]},
                {"top_logprobs": [{"a": "low"}]},
            )
        ),
    ],
    ids=lambda value: str(value)[:80],
)
def test_what_are_log_probabilities(value: Any, expected: bool) -> None:
    assert expected is are_logprobs(value)


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
DETAILS = ["prompt_tokens_details", "completion_tokens_details"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, True),
        (USAGE, True),
        ({**dict.fromkeys(USAGE), **dict.fromkeys(DETAILS)}, True),
        ({**USAGE, "cost": 0.5}, True),
        *(({**USAGE, name: {"cached_tokens": 3, "audio_tokens": None}}, True) for name in DETAILS),
        *((wrong, False) for wrong in (None, [], "a", 1)),
        *(({**USAGE, name: wrong}, False) for name in USAGE for wrong in ("3", 0.5, True, [3])),
        *(
            ({**USAGE, name: wrong}, False)
            for name in DETAILS
            for wrong in (3, [3], {"cached_tokens": "3"}, {"a": 1, "b": 0.5})
        ),
        ({"more": MAX_SCHEMA_DEPTH["a"]}, True),
        ({"more": MAX_SCHEMA_DEPTH}, False),
    ],
    ids=str,
)
def test_what_are_token_counts(value: Any, expected: bool) -> None:
    assert expected is is_usage(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, True),
        ({"a": "b"}, True),
        (MAX_SCHEMA_DEPTH, True),
        (TOO_DEEP, False),
        ([], False),
        (1, False),
    ],
    ids=lambda value: str(value)[:30],
)
def test_timings_are_any_object_that_is_not_too_deep(value: Any, expected: bool) -> None:
    assert expected is are_timings(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": [1, null]}', True),
        ('"a"', True),
        ('{"a": 1', False),
        ("NaN", False),
        ("1e999", False),
        ("[" * 100_000, False),
    ],
    ids=["object", "text", "cut", "NaN", "infinite", "deep"],
)
def test_json_is_whole_and_finite(text: str, expected: bool) -> None:
    assert expected == is_json(text)
