"""Tools: how they are declared and chosen, and what a call looks like."""

from __future__ import annotations

import json

import pytest

from tests.fakes.server import Reply

from .servers import CHAT, Json, Server, ask, deltas, is_text

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
BARE = {"type": "function", "function": {"name": "f"}}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
OTHER = {"type": "function", "function": {"name": "other"}}
SCHEMA = {"type": "json_schema", "json_schema": {"schema": {"enum": ["x"]}}}
QUESTION = "What is the weather in Paris?"


@pytest.mark.parametrize(
    ("fields", "old", "newest", "llama_cpp"),
    [
        ({"tools": [BARE]}, 200, 200, 200),
        ({"tools": []}, 200, 200, 200),
        # llama.cpp is not sure whose fault it is.
        ({"tools": [{"type": "function"}]}, 422, 422, 500),
        ({"tools": [{"function": {"name": "f"}}]}, 422, 422, 500),
        ({"tools": [{"type": "function", "function": {}}]}, 422, 422, 500),
        ({"tool_choice": "auto"}, 200, 200, 200),
        ({"tool_choice": "none", "tools": [BARE]}, 200, 200, 200),
        ({"tool_choice": "sometimes"}, 400, 400, 400),
        ({"tool_choice": 5}, 422, 422, 200),
        ({"tool_choice": {"name": "f"}}, 422, 422, 200),
        ({"tool_choice": "required"}, 200, 400, 200),  # without tools
        ({"tool_choice": OTHER, "tools": [BARE]}, 200, 400, 200),  # without that one
        ({"tool_choice": "required", "tools": [BARE], "response_format": SCHEMA}, 200, 400, 200),
        ({"tool_choice": "auto", "tools": [BARE], "response_format": SCHEMA}, 200, 200, 200),
    ],
    ids=lambda value: repr(value)[:60] if isinstance(value, dict) else "",
)
def test_what_is_taken_and_what_refused(
    server: Server, fields: Json, old: int, newest: int, llama_cpp: int
) -> None:
    """Newest looks at the choice, v0.4.2 at its form only."""
    response = server.post(CHAT, ask(max_tokens=1, **fields))

    assert server.choose(old=old, newest=newest, llama_cpp=llama_cpp) == response.status_code
    assert (response.status_code == 422) == is_text(response)


@pytest.mark.parametrize(("count", "status"), [(128, 200), (129, 400)])
def test_how_many_tools_there_can_be(scripted: Server, count: int, status: int) -> None:
    """llama.cpp takes as many as fit into its context, which takes it long."""
    assert status == scripted.post(CHAT, ask(tools=[BARE] * count)).status_code


def test_a_call_can_be_forced(server: Server) -> None:
    """v0.4.2 takes the choice and leaves it to the model."""
    choice = {"tools": [TOOL], "tool_choice": "required"}
    answer = server.chat(QUESTION, **choice, max_tokens=48, temperature=0)

    if server.dialect == "v0.4.2":
        assert answer["finish_reason"] in ("stop", "length", "tool_calls")
        assert server.fake is None or "tool_calls" not in answer["message"]
        return
    assert "tool_calls" == answer["finish_reason"]
    (call,) = answer["message"]["tool_calls"]
    assert {"id", "type", "function"} == call.keys()
    assert ("function", "get_weather") == (call["type"], call["function"]["name"])
    assert {"city"} == json.loads(call["function"]["arguments"]).keys()


def test_a_call_of_one_tool_can_be_forced(scripted: Server) -> None:
    """It need not be the first."""
    message = scripted.chat(tools=[BARE, TOOL], tool_choice=NAMED)["message"]

    names = [call["function"]["name"] for call in message.get("tool_calls", [])]
    assert scripted.choose(old=[], newest=["get_weather"]) == names


def test_the_form_of_a_call(scripted: Server) -> None:
    """The arguments are a text, and a message of calls alone has no text."""
    scripted.fake.script(Reply.text("", tool_calls=[{"name": "f", "arguments": {"a": 1}}]))

    choice = scripted.chat(tools=[TOOL])
    (call,) = choice["message"]["tool_calls"]

    assert ("tool_calls", None) == (choice["finish_reason"], choice["message"]["content"])
    assert {"name": "f", "arguments": '{"a": 1}'} == call["function"]
    assert "call_" == call["id"][:5]
    assert 24 == len(call["id"].removeprefix("call_"))


def test_the_text_of_a_call_beside_text(scripted: Server) -> None:
    """Both are there."""
    scripted.fake.script(Reply.text("Let me see.", tool_calls=[{"name": "f"}]))

    message = scripted.chat(tools=[TOOL])["message"]

    assert ("Let me see.", 1) == (message["content"], len(message["tool_calls"]))


def test_arguments_need_not_be_json(scripted: Server) -> None:
    """They are what the model wrote."""
    scripted.fake.script(Reply.text("", tool_calls=[{"name": "f", "arguments": '{"a": '}]))

    (call,) = scripted.chat(tools=[TOOL])["message"]["tool_calls"]

    assert '{"a": ' == call["function"]["arguments"]


def test_a_schema_beside_tools_wins(server: Server) -> None:
    """The answer keeps to it from its first token on, so that it can call nothing."""
    events = server.events(
        CHAT,
        ask(tools=[TOOL], response_format=SCHEMA, max_tokens=16, temperature=0,
            chat_template_kwargs={"enable_thinking": False}),
    )  # fmt: skip

    assert "x" == json.loads("".join(delta.get("content") or "" for delta in deltas(events)))
    assert not any("tool_calls" in delta for delta in deltas(events))


def test_tools_are_part_of_the_prompt(server: Server) -> None:
    """They cost tokens."""
    sizes = [
        server.ok(CHAT, ask(max_tokens=1, tools=tools))["usage"]["prompt_tokens"]
        for tools in ([], [TOOL])
    ]

    assert sizes[1] > sizes[0]
