"""Chats in the form of Anthropic's messages: the server reads the same prompt."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.chat import chat_request
from mlxcel_integrations.protocol.messages import inspect
from mlxcel_integrations.protocol.tokens.anthropic_form import to_anthropic
from tests.fakes.anthropic import from_anthropic

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells it.", "parameters": SCHEMA},
}
WEATHER = {"name": "weather", "description": "Tells it.", "input_schema": SCHEMA}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
}
USER = {"role": "user", "content": "hi"}
SYSTEM = {"role": "system", "content": "Be brief."}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}}


def body(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages), **more}


@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [SYSTEM, USER],
        [SYSTEM],
        [SYSTEM, SYSTEM, USER],
        [SYSTEM, USER, SYSTEM, USER],
        [USER, {"role": "assistant", "content": "hello"}, USER],
        [USER, {"role": "assistant", "content": "", "tool_calls": [CALL]}, RESULT],
        [
            USER,
            {"role": "assistant", "content": "Wait.", "tool_calls": [CALL, CALL]},
            RESULT,
            RESULT,
        ],
        [USER, {"role": "assistant", "content": "", "tool_calls": [CALL]}, RESULT, USER],
        [{"role": "user", "content": [{"type": "text", "text": "look"}, IMAGE]}],
    ],
)
def test_the_server_reads_the_same_messages(messages: list[Any]) -> None:
    read = from_anthropic(to_anthropic(body(*messages, tools=[TOOL])))

    plain = [{k: v for k, v in message.items() if v != []} for message in read["messages"]]
    assert messages == plain
    assert [TOOL] == read["tools"]


def test_the_first_system_message_stands_apart() -> None:
    assert {"model": "m", "system": "Be brief.", "messages": [USER]} == to_anthropic(
        body(SYSTEM, USER)
    )


THINKING = {"type": "thinking", "thinking": "hm", "signature": ""}
USE = {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}}
FOUND = {"type": "tool_result", "tool_use_id": "c1", "content": "sunny"}
PICTURE = {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        (RESULT, {"role": "user", "content": [FOUND]}),
        (
            {"role": "tool", "content": "sunny"},
            {"role": "user", "content": [{**FOUND, "tool_use_id": ""}]},
        ),
        (
            {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [CALL]},
            {"role": "assistant", "content": [THINKING, USE]},
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "weather"}}]},
            {"role": "assistant", "content": [{**USE, "id": "", "input": {}}]},
        ),
        (
            {"role": "user", "content": [IMAGE]},
            {"role": "user", "content": [{"type": "image", "source": PICTURE}]},
        ),
    ],
)
def test_a_message_is_sent_in_the_form_of_anthropic(message: Any, sent: Any) -> None:
    assert [USER, sent] == to_anthropic(body(USER, message))["messages"]


def test_a_message_without_content_is_an_empty_one() -> None:
    sent = to_anthropic(body(USER, {"role": "assistant", "content": None}))

    assert {"role": "assistant", "content": ""} == sent["messages"][1]


def test_thoughts_stand_before_what_is_said() -> None:
    message = {"role": "assistant", "content": "42", "reasoning_content": "6 times 7"}

    blocks = to_anthropic(body(USER, message))["messages"][1]["content"]

    assert ["thinking", "text"] == [block["type"] for block in blocks]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ("any", {"type": "any"}),  # nobody has checked what extra_body says
        (
            {"type": "function", "function": {"name": "weather"}},
            {"type": "tool", "name": "weather"},
        ),
    ],
)
def test_the_choice_of_a_tool_takes_the_form_of_anthropic(choice: Any, expected: Any) -> None:
    assert expected == to_anthropic(body(USER, tools=[TOOL], tool_choice=choice))["tool_choice"]


def test_a_tool_without_a_schema_is_not_taken_for_one_of_the_server() -> None:
    bare = {"type": "function", "function": {"name": "now"}}

    (tool,) = to_anthropic(body(USER, tools=[bare]))["tools"]

    assert {"name": "now", "input_schema": {"type": "object", "properties": {}}} == tool


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ({"parameters": None}, {"input_schema": {"type": "object", "properties": {}}}),
        ({"parameters": {}}, {"input_schema": {"type": "object", "properties": {}}}),
        ({"parameters": SCHEMA, "description": None}, {"input_schema": SCHEMA}),
        ({"parameters": SCHEMA, "description": ""}, {"input_schema": SCHEMA}),
        ({"parameters": SCHEMA, "strict": True}, {"input_schema": SCHEMA}),
        (
            {"parameters": {"properties": {}}, "description": "d"},
            {"input_schema": {"properties": {}}, "description": "d"},
        ),
    ],
)
def test_every_tool_has_the_form_that_servers_count(
    function: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Servers silently leave out tools of any other form."""
    tools = [{"type": "function", "function": {"name": "f", **function}}, TOOL]
    request = chat_request("m", inspect("hi"), {"tools": tools})

    sent = to_anthropic(request.body)["tools"]

    assert [{"name": "f", **expected}, WEATHER] == sent


@pytest.mark.parametrize("tool", [WEATHER, {"type": "web_search"}, "weather"])
def test_a_tool_that_would_not_be_counted_is_told(tool: Any) -> None:
    with pytest.raises(MlxcelError) as caught:
        to_anthropic(body(USER, tools=[tool]))

    assert (
        "This server cannot count a tool that is not of the form "
        '{"type": "function", "function": {...}}: count without it, or use a newer server.'
    ) == str(caught.value)


def test_an_address_of_an_image_stays_one() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}
    message = {"role": "user", "content": [part]}

    (block,) = to_anthropic(body(message))["messages"][0]["content"]

    assert {"type": "url", "url": "https://example.org/x.png"} == block["source"]


def test_arguments_that_are_no_json_are_kept() -> None:
    call = {**CALL, "function": {"name": "weather", "arguments": "{bro"}}
    message = {"role": "assistant", "content": "", "tool_calls": [call]}

    (block,) = to_anthropic(body(USER, message))["messages"][1]["content"]

    assert {"": "{bro"} == block["input"]


def test_what_has_no_such_form_is_told() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}

    with pytest.raises(MlxcelError) as caught:
        to_anthropic(body({"role": "user", "content": [sound]}))

    assert (
        "This server cannot count messages with parts of the type 'input_audio': count without "
        "them, or use a newer server."
    ) == str(caught.value)


def test_variables_of_the_template_are_sent() -> None:
    sent = to_anthropic(body(USER, chat_template_kwargs={"enable_thinking": False}))

    assert {"enable_thinking": False} == sent["chat_template_kwargs"]


def test_parts_of_an_answer_stand_between_its_thoughts_and_its_calls() -> None:
    said = [{"type": "text", "text": "4"}, {"type": "text", "text": "2"}]
    message = {
        "role": "assistant",
        "content": said,
        "reasoning_content": "hm",
        "tool_calls": [CALL],
    }

    blocks = to_anthropic(body(USER, message))["messages"][1]["content"]

    assert ["thinking", "text", "text", "tool_use"] == [block["type"] for block in blocks]
    assert said == blocks[1:3]
