"""Chat: what is asked, and how its events are read."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.protocol.chat import (
    ChatStream,
    chat_depends_on_server,
    chat_request,
    check_conversation,
    check_messages,
)
from mlxcel_integrations.protocol.features import ServerFeatures
from mlxcel_integrations.protocol.stream import Delta, fold

USER = {"role": "user", "content": "hi"}


def test_the_body_asks_for_a_stream_with_usage() -> None:
    request = chat_request("m", "hi", {"temperature": 0.5, "top_p": None})

    assert "/v1/chat/completions" == request.route
    assert ChatStream is request.stream
    assert {
        "model": "m",
        "messages": [USER],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
    } == request.body


def test_a_conversation_is_named_in_a_header_and_not_in_the_body() -> None:
    request = chat_request("m", "hi", {"session": "user-7"})

    assert "user-7" == request.session
    assert "session" not in request.body
    assert chat_request("m", "hi", {}).session is None


PICTURE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}


def features(engine: str | None, *modalities: str) -> ServerFeatures:
    return ServerFeatures(engine, "build 1", (), None, None, None, frozenset(modalities))


def test_a_picture_is_refused_before_it_is_sent_to_a_model_that_cannot_see() -> None:
    assert [PICTURE] == chat_request("m", [PICTURE], {}, features(None, "vision")).body["messages"]
    with pytest.raises(MlxcelError, match="image_url, but this model takes audio"):
        chat_request("m", [PICTURE], {}, features(None, "audio"))


@pytest.mark.parametrize(
    ("messages", "sampling", "expected"),
    [
        ("hi", {}, False),
        ("hi", {"temperature": 0, "tools": []}, False),
        ("hi", {"tools": [{}]}, True),
        ("hi", {"repetition_penalty": 1.2}, True),
        ([USER, PICTURE], {}, True),
    ],
)
def test_only_some_requests_depend_on_the_server(
    messages: Any, sampling: dict[str, Any], expected: bool
) -> None:
    assert expected is chat_depends_on_server(messages, sampling)


def test_extra_body_beats_everything() -> None:
    extra = {"model": "other", "temperature": 1, "unknown": {"a": 1}}

    body = chat_request("m", "hi", {"temperature": 0.5, "extra_body": extra}).body

    assert extra == {name: body[name] for name in extra}
    assert "extra_body" not in body


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("hi", [USER]),
        ([USER], [USER]),
        ((USER,), [USER]),
        ([MappingProxyType(USER)], [USER]),
        ([{"role": "developer", "content": "x"}, USER], [{"role": "system", "content": "x"}, USER]),
        ([{"role": "tool", "content": "1", "tool_call_id": "c"}], None),
        ([{"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}], None),
        ([{"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "n"}], None),
    ],
)
def test_messages_pass(given: Any, expected: Any) -> None:
    assert (given if expected is None else expected) == check_messages(given)


def test_the_messages_of_the_user_are_left_alone() -> None:
    message = {"role": "developer", "content": "x"}
    check_messages([message])

    assert {"role": "developer", "content": "x"} == message


TEXT = {"type": "text", "text": "hi"}
BLANK = [
    {"role": "user", "content": ""},
    {"role": "user", "content": " \n"},
    {"role": "user", "content": [{"type": "text", "text": " "}]},
    {"role": "user", "content": []},
    {"role": "assistant"},
]


def test_messages_that_are_all_empty_are_refused() -> None:
    with pytest.raises(MlxcelError) as caught:
        check_conversation(BLANK)

    expected = "All messages are empty: write something into at least one of them."
    assert expected == str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        USER,
        {"role": "user", "content": [TEXT]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
        {"role": "assistant", "content": "", "reasoning_content": "hm"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c"}]},
    ],
)
def test_one_message_that_says_something_is_enough(message: dict[str, Any]) -> None:
    check_conversation([*BLANK, message])


EXAMPLE = '{"role": "user", "content": "..."}'
KNOWN = "roles are system, user, assistant, tool"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "There are no messages to answer: pass at least one user message."),
        ((), "There are no messages to answer: pass at least one user message."),
        (["hi"], f"messages[0] is str, not a dictionary such as {EXAMPLE}."),
        ([USER, None], f"messages[1] is NoneType, not a dictionary such as {EXAMPLE}."),
        (
            [USER, {"role": "asistant"}],
            f"messages[1] has the unknown role 'asistant'; {KNOWN}. Did you mean 'assistant'?",
        ),
        ([{"role": "function"}], f"messages[0] has the unknown role 'function'; {KNOWN}."),
        ([{"content": "hi"}], f"messages[0] has the unknown role None; {KNOWN}."),
    ],
)
def test_messages_that_no_server_accepts_are_refused(given: Any, message: str) -> None:
    with pytest.raises(MlxcelError) as caught:
        check_messages(given)

    assert message == str(caught.value)


PROBABLE = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"delta": {"content": "a"}}, Delta("a")),
        ({"delta": {"reasoning_content": "hm"}}, Delta(reasoning="hm")),
        ({"delta": {"reasoning": "hm"}}, Delta(reasoning="hm")),
        ({"delta": {"reasoning": "hm", "reasoning_content": "hm"}}, Delta(reasoning="hm")),
        ({"delta": {"content": "a", "reasoning_content": "hm"}}, Delta("a", "hm")),
        ({"delta": {"tool_calls": [{"index": 0}]}}, Delta(tool_calls=[{"index": 0}])),
        (
            {"delta": {"content": "a"}, "logprobs": {"content": [PROBABLE]}},
            Delta("a", logprobs={"content": [PROBABLE]}),
        ),
        (
            {"delta": {}, "finish_reason": "tool_calls", "reasoning_only": True},
            Delta(finish_reason="tool_calls"),
        ),
    ],
)
def test_a_choice_becomes_a_delta(choice: dict[str, Any], expected: Delta) -> None:
    data = json.dumps({"choices": [choice]}).encode()

    assert [expected] == ChatStream().feed(b"data: " + data + b"\n\n")


@pytest.mark.parametrize(
    ("text", "thoughts", "expected"),
    [
        ("", '{"a": 1}', '{"a": 1}'),
        (" \n", '\n{"a"', ' \n\n{"a"'),
        ("", "[1, 2]", "[1, 2]"),
        ('{"a": 1}', '{"b": 2}', '{"a": 1}'),
        ("", "Let me see", ""),
        ("", "", ""),
    ],
)
def test_json_where_the_thoughts_belong_is_the_text(
    text: str, thoughts: str, expected: str
) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    stream = chat_request("m", "hi", {"response_format": schema}).stream()
    parts = [*({"reasoning_content": token} for token in thoughts), {"content": text}]
    frames: list[Any] = [{"choices": [{"delta": part}]} for part in parts]
    frames.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    data = b"".join(b"data: " + json.dumps(frame).encode() + b"\n\n" for frame in frames)

    reply = fold(stream.feed(data + b"data: [DONE]\n\n"))

    assert (expected, thoughts) == (reply.text, reply.reasoning)
