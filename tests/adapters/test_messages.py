"""Messages of both frameworks become the same messages of OpenAI."""

from __future__ import annotations

import base64
import copy
import struct
from collections.abc import Callable
from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.messages import Conversation, inspect
from tests.adapters.frameworks import Framework, Json

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
WAV = b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + bytes(24)
MP4 = struct.pack(">I", 24) + b"ftypmp42" + bytes(4) + b"mp42isom" + bytes(8)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def call(number: int) -> Json:
    """Return a tool call as frameworks have it."""
    return {"name": "weather", "args": {"city": "Paris"}, "id": f"call_{number}"}


def sent_call(number: int) -> Json:
    """Return the same call as it is sent."""
    function = {"name": "weather", "arguments": '{"city": "Paris"}'}
    return {"type": "function", "id": f"call_{number}", "function": function}


def image(data: bytes) -> Json:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded(data)}"}}


Make = Callable[[Framework], list[Any]]
HI = {"role": "user", "content": "hi"}

CONVERSATIONS: dict[str, tuple[Make, list[Json]]] = {
    "a text": (lambda to: [to.user("hi")], [HI]),
    "instructions": (
        lambda to: [to.system("Be brief."), to.user("hi")],
        [{"role": "system", "content": "Be brief."}, HI],
    ),
    "a name": (lambda to: [to.user("hi", name="Ann")], [{**HI, "name": "Ann"}]),
    "an answer": (
        lambda to: [to.user("hi"), to.assistant("hello"), to.user("hi")],
        [HI, {"role": "assistant", "content": "hello"}, HI],
    ),
    "an empty answer": (
        lambda to: [to.user("hi"), to.assistant()],
        [HI, {"role": "assistant", "content": ""}],
    ),
    "thinking": (
        lambda to: [to.assistant("51", thinking="hm")],
        [{"role": "assistant", "content": "51", "reasoning_content": "hm"}],
    ),
    "a call": (
        lambda to: [to.assistant(calls=[call(1)])],
        [{"role": "assistant", "content": "", "tool_calls": [sent_call(1)]}],
    ),
    "calls and their results": (
        lambda to: [
            to.user("hi"),
            to.assistant("Let me see.", calls=[call(1), call(2)]),
            to.result("sunny", "call_1"),
            to.result("rainy", "call_2"),
        ],
        [
            HI,
            {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [sent_call(1), sent_call(2)],
            },
            {"role": "tool", "content": "sunny", "tool_call_id": "call_1"},
            {"role": "tool", "content": "rainy", "tool_call_id": "call_2"},
        ],
    ),
    "an image": (
        lambda to: [to.user("hi", media=[to.media("image", PNG, "image/png")])],
        [{"role": "user", "content": [{"type": "text", "text": "hi"}, image(PNG)]}],
    ),
    "sound and video": (
        lambda to: [
            to.user(
                "hi",
                media=[to.media("audio", WAV, "audio/wav"), to.media("video", MP4, "video/mp4")],
            )
        ],
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "hi"},
                    {"type": "input_audio", "input_audio": {"data": encoded(WAV), "format": "wav"}},
                    {
                        "type": "video_url",
                        "video_url": {"url": f"data:video/mp4;base64,{encoded(MP4)}"},
                    },
                ],
            }
        ],
    ),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_is_sent_as_openai_has_it(framework: Framework, name: str) -> None:
    make, expected = CONVERSATIONS[name]
    messages = make(framework)
    before = copy.deepcopy(messages)

    sent = framework.sent(messages)

    assert expected == sent
    assert before == messages
    conversation = inspect(sent)
    assert conversation.problem is None
    conversation.check_media(None)


def test_thinking_is_left_out_on_request(framework: Framework) -> None:
    messages = [framework.assistant("51", thinking="hm")]

    assert [{"role": "assistant", "content": "51"}] == framework.sent(messages, reasoning=False)


LONG = 10_000

UNUSUAL: dict[str, Make] = {
    "a call without a result": lambda to: [to.user("hi"), to.assistant(calls=[call(1)])],
    "a question after a call": lambda to: [to.assistant(calls=[call(1)]), to.user("hi")],
    "an answer at the end": lambda to: [to.user("hi"), to.assistant("hello")],
    "empty messages between others": lambda to: [to.user("hi"), to.assistant(), to.user("")],
    "results in another order": lambda to: [
        to.assistant(calls=[call(1), call(2)]),
        to.result("b", "call_2"),
        to.result("a", "call_1"),
    ],
    "many messages": lambda to: [
        *[to.user("hi"), to.assistant(calls=[call(1)]), to.result("x", "call_1")] * (LONG // 3)
    ],
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_conversation_is_sent(framework: Framework, name: str) -> None:
    messages = UNUSUAL[name](framework)

    assert len(messages) == len(check(framework, messages).messages)


BAD: dict[str, tuple[Make, str]] = {
    "no messages": (lambda to: [], "There are no messages to answer"),
    "an empty message": (lambda to: [to.user("")], "All messages are empty"),
    "empty messages": (lambda to: [to.user(" "), to.assistant()], "All messages are empty"),
    "a result without a call": (
        lambda to: [to.user("hi"), to.result("x", "call_1")],
        r"messages\[1\] is the result of the tool call 'call_1', but no message before it",
    ),
    "a result before its call": (
        lambda to: [to.user("hi"), to.result("x", "call_1"), to.assistant(calls=[call(1)])],
        r"messages\[1\] is the result of the tool call 'call_1', but no message before it",
    ),
    "a result of another call": (
        lambda to: [to.user("hi"), to.assistant(calls=[call(1)]), to.result("x", "call_2")],
        r"messages\[2\] is the result of the tool call 'call_2', but no message before it",
    ),
    "a result at the end of many messages": (
        lambda to: [*[to.user("hi")] * LONG, to.result("x", "call_1")],
        r"messages\[10000\] is the result of the tool call",
    ),
    "data that is no image": (
        lambda to: [to.user("hi"), to.user("hi", media=[to.media("image", WAV, "image/png")])],
        r"messages\[1\]\.content\[1\] is not an image",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_conversation_is_an_error_that_names_the_message(
    framework: Framework, name: str
) -> None:
    make, message = BAD[name]

    with pytest.raises(MlxcelError, match=message):
        check(framework, make(framework))


def check(framework: Framework, messages: list[Any]) -> Conversation:
    """Translate a conversation, and check it as before it is sent."""
    conversation = inspect(framework.sent(messages))
    if conversation.problem is not None:
        raise MlxcelError(conversation.problem)
    conversation.check_media(None)
    return conversation


@pytest.mark.parametrize("kind", ["image", "video"])
def test_addresses_are_sent_only_if_that_is_allowed(framework: Framework, kind: str) -> None:
    url = "http://10.0.0.1/secret"
    messages = [framework.user("hi"), framework.user("hi", media=[framework.address(kind, url)])]

    with pytest.raises(MlxcelError, match=r"messages\[1\]\.\w+\[1\] is the address.*send_urls"):
        framework.sent(messages)

    part = framework.sent(messages, urls=True)[1]["content"][1]
    assert {"type": f"{kind}_url", f"{kind}_url": {"url": url}} == part


def test_the_oldest_form_of_calls_is_sent(framework: Framework) -> None:
    messages = [
        framework.function_call("weather", '{"city": "Paris"}'),
        framework.function_result("sunny", "weather"),
    ]

    asked, answered = check(framework, messages).messages

    (made,) = asked["tool_calls"]
    assert sent_call(1)["function"] == made["function"]
    assert ("tool", "sunny", made["id"]) == (
        answered["role"],
        answered["content"],
        answered["tool_call_id"],
    )
    assert made["id"]
