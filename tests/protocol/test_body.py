"""Bodies of requests: any text, any number, and what JSON cannot hold."""

from __future__ import annotations

import json
from collections import UserDict
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.body import encode_body, to_json, valid_text

np = pytest.importorskip("numpy")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("한글 🎉", "한글 🎉"),
        ("a\ud800b", "a\ufffdb"),
        ("\udc00\ud800", "\ufffd\ufffd"),
        ("\ud83c\udf89", "🎉"),
        ("\\ud800", "\\ud800"),
        ("\x00\u2028\x7f", "\x00\u2028\x7f"),
    ],
)
def test_lone_surrogates_become_replacement_characters(text: str, expected: str) -> None:
    assert expected == valid_text(text)
    assert {"x": [expected], expected: 1} == json.loads(encode_body({"x": [text], text: 1}))


@given(st.text(st.characters(codec=None)))
def test_any_text_can_be_sent(text: str) -> None:
    sent = json.loads(encode_body([text]))[0]

    assert valid_text(text) == sent
    assert sent.encode().decode() == sent


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.float64(0.25), 0.25),
        (np.bool_(True), True),
        (np.array([1, 2]), [1, 2]),
        (UserDict({"a": 1}), {"a": 1}),
        (MappingProxyType({"a": (1,)}), {"a": [1]}),
        (range(2), [0, 1]),
    ],
)
def test_numbers_and_containers_of_other_libraries_become_json(value: Any, expected: Any) -> None:
    assert {"x": expected} == json.loads(to_json({"x": value}))


def circle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"messages": [{"content": b"x"}]}, r"^messages\[0\].content is of the type bytes, which"),
        ({"a": {1}}, "^a is of the type set, which"),
        ({"a": object()}, "^a is of the type object, which cannot be written as JSON: pass text"),
        ({"a": {"b": float("nan")}}, "^a.b is nan, which JSON cannot represent: pass a number"),
        ({"a": [1.0, float("inf")]}, r"^a\[1\] is inf, which"),
        ({"a": {(1, 2): 3}}, "^A key of a is of the type tuple, which cannot"),
        ({float("nan"): 1}, "^The request cannot be written as JSON: Out of range float"),
        (3j, "^The request is of the type complex"),
        ({"a": circle()}, "nested too deeply, or contains itself"),
        ({"a": nested(100_000)}, "nested too deeply, or contains itself"),
    ],
)
def test_what_json_cannot_hold_is_named_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(MlxcelError, match=message):
        to_json(value)
