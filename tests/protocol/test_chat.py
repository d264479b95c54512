"""Requests for chats."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.protocol.answers.chat_streams import ChatStream
from mlxcel_integrations.protocol.chat import chat_depends_on_server, chat_request
from mlxcel_integrations.protocol.features import ServerFeatures
from mlxcel_integrations.protocol.messages import inspect

USER = {"role": "user", "content": "hi"}


def test_the_body_asks_for_a_stream_with_usage() -> None:
    request = chat_request("m", inspect("hi"), {"temperature": 0.5, "top_p": None})

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
    request = chat_request("m", inspect("hi"), {"session": "user-7"})

    assert "user-7" == request.session
    assert "session" not in request.body
    assert chat_request("m", inspect("hi"), {}).session is None


PICTURE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}


def features(engine: str | None, *modalities: str) -> ServerFeatures:
    return ServerFeatures(engine, "build 1", (), None, None, None, frozenset(modalities))


def test_a_picture_is_refused_before_it_is_sent_to_a_model_that_cannot_see() -> None:
    assert [PICTURE] == chat_request("m", inspect([PICTURE]), {}, features(None, "vision")).body[
        "messages"
    ]
    with pytest.raises(MlxcelError, match="image_url, but this model accepts audio"):
        chat_request("m", inspect([PICTURE]), {}, features(None, "audio"))


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
    assert expected is chat_depends_on_server(inspect(messages), sampling)


def test_extra_body_beats_everything() -> None:
    extra = {"model": "other", "temperature": 1, "unknown": {"a": 1}}

    body = chat_request("m", inspect("hi"), {"temperature": 0.5, "extra_body": extra}).body

    assert extra == {name: body[name] for name in extra}
    assert "extra_body" not in body
