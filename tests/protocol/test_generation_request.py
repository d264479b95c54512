"""A request for a generation: its answer is left where the request ends it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlxcel_integrations.protocol.answers.chat_streams import ChatStream
from mlxcel_integrations.protocol.generation_request import reader_factory

ENDLESS = ('{"a": "', *["la la "] * 200)
SCHEMA = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}


@pytest.mark.parametrize(
    ("body", "options", "texts", "expected"),
    [
        ({}, {}, ENDLESS, None),
        (SCHEMA, {}, ENDLESS, "repetition"),
        (SCHEMA, {"may_repeat": True}, ENDLESS, None),
        (SCHEMA, {}, ["{}", " ", " ", " "], "stop"),
        ({"stop": " two"}, {}, ["one", " two"], "stop"),
        ({"stop": ["", " two", 5]}, {}, ["one", " two"], "stop"),
        ({**SCHEMA, "stop": " two"}, {}, ['"one', " two"], None),
    ],
)
def test_an_answer_is_left_where_its_request_ends(
    body: Any, options: Any, texts: list[str], expected: str | None
) -> None:
    stream = reader_factory(ChatStream, body, **options)()
    deltas = stream.feed("".join(map(_said, texts)).encode())

    assert (expected is not None, expected) == (stream.left, deltas[-1].finish_reason)


def _said(text: str) -> str:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n"
