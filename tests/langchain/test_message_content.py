"""Blocks of messages, whoever wrote them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    ChatMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.langchain.messages import to_openai_messages

Json = dict[str, Any]


def sent(message: AnyMessage | ChatMessage, **options: bool) -> Json:
    (wire,) = to_openai_messages([message], **options)
    return wire


TEXTS: list[tuple[Json, str]] = [
    ({"type": "text", "text": "yes"}, "yes"),
    ({"text": "yes"}, "yes"),
    ({"type": "output_text", "text": "yes", "annotations": []}, "yes"),
    ({"type": "input_text", "text": "yes"}, "yes"),
    ({"type": "refusal", "refusal": "yes"}, "yes"),
    ({"type": "refusal"}, ""),
    ({"type": "json", "json": {"a": 1}}, '{"a": 1}'),
    ({"guard_content": {"text": {"text": "yes"}}}, "yes"),
    ({"guardContent": {"text": {"text": "yes"}}}, "yes"),
    ({"searchResult": {"source": "s", "title": "T", "content": [{"text": "yes"}]}}, "T\nyes"),
    ({"type": "guard_content", "guard_content": {"type": "text", "text": "yes"}}, "yes"),
    ({"type": "non_standard", "value": {"type": "output_text", "text": "yes"}}, "yes"),
]


@pytest.mark.parametrize(("block", "expected"), TEXTS)
@pytest.mark.parametrize("kind", [AIMessage, HumanMessage, SystemMessage])
def test_text_is_text(kind: Any, block: Json, expected: str) -> None:
    assert expected == sent(kind([block]))["content"]


def test_the_texts_of_an_answer_are_pieces_of_one_text() -> None:
    pieces = ["I ", {"type": "text", "text": "look"}, "."]

    assert "I look." == sent(AIMessage(pieces))["content"]
    assert "I \nlook\n." == sent(HumanMessage(pieces))["content"]


def test_what_is_left_out_between_texts_parts_them() -> None:
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    refusal = {"type": "refusal", "refusal": "No."}

    assert "I look.\nYes." == sent(AIMessage(["I look.", search, "Yes."]))["content"]
    assert "I look.\nNo." == sent(AIMessage(["I look.", refusal]))["content"]


def test_what_a_model_said_aloud_is_text_once() -> None:
    beside = {"audio": {"id": "a", "data": "AAAA", "transcript": "yes"}}

    for content in ("", "yes", ["yes"]):
        assert "yes" == sent(AIMessage(content, additional_kwargs=beside))["content"]


def test_a_refusal_beside_the_content_is_text_once() -> None:
    beside = {"refusal": "No."}
    block = {"type": "refusal", "refusal": "No."}

    assert {"role": "assistant", "content": "No."} == sent(AIMessage("", additional_kwargs=beside))
    assert "I see.\nNo." == sent(AIMessage("I see.", additional_kwargs=beside))["content"]
    assert "No." == sent(AIMessage([block], additional_kwargs=beside))["content"]


THOUGHTS: list[Json] = [
    {"type": "thinking", "thinking": "hm", "signature": "s"},
    {
        "type": "thinking",
        "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}],
    },
    {"type": "reasoning", "reasoning": "hm"},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
    {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}], "summary": []},
    {"type": "reasoning_content", "reasoning_content": {"text": "hm", "signature": "s"}},
    {"type": "reasoning_content", "reasoning_content": "hm"},
    {"type": "non_standard", "value": {"type": "thinking", "thinking": "hm"}},
]


@pytest.mark.parametrize("block", THOUGHTS)
def test_thoughts_go_the_way_of_send_reasoning(block: Json) -> None:
    message = AIMessage([block, "yes"])
    expected = {"role": "assistant", "content": "yes"}

    assert {**expected, "reasoning_content": "hm"} == sent(message)
    assert expected == sent(message, reasoning=False)


@pytest.mark.parametrize(
    "beside",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"reasoning": {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}},
    ],
)
def test_thoughts_beside_the_content_are_sent_once(beside: Json) -> None:
    message = AIMessage([{"type": "reasoning", "reasoning": "hm"}], additional_kwargs=beside)

    assert "hm" == sent(message)["reasoning_content"]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "thinking"},
        {"type": "thinking", "thinking": None},
        {"type": "thinking", "thinking": [{"type": "reference"}, 5]},
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"},
        {"type": "reasoning_content", "reasoning_content": {"redacted_content": b"abc"}},
        {"type": "redacted_thinking", "data": "Em"},
    ],
)
def test_thoughts_that_cannot_be_read_are_left_out(block: Json) -> None:
    assert {"role": "assistant", "content": "yes"} == sent(AIMessage([block, "yes"]))


CALLS: list[Json] = [
    {"type": "tool_call", "id": "call_1", "name": "look", "args": {"city": "Oslo"}},
    {"type": "tool_use", "id": "call_1", "name": "look", "input": {"city": "Oslo"}},
    {
        "type": "tool_use",
        "id": "call_1",
        "name": "look",
        "input": {},
        "partial_json": '{"city": "Oslo"}',
    },
    {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "look",
        "arguments": '{"city": "Oslo"}',
    },
    {
        "type": "non_standard",
        "value": {"type": "tool_use", "id": "call_1", "name": "look", "input": {"city": "Oslo"}},
    },
]
SENT_CALL = {
    "type": "function",
    "id": "call_1",
    "function": {"name": "look", "arguments": '{"city": "Oslo"}'},
}


@pytest.mark.parametrize("block", CALLS)
@pytest.mark.parametrize("also_parsed", [True, False])
def test_a_call_is_a_call_once(block: Json, also_parsed: bool) -> None:
    parsed = [{"name": "look", "args": {"city": "Oslo"}, "id": "call_1"}] if also_parsed else []

    wire = sent(AIMessage(["I look.", block, block], tool_calls=parsed))

    assert {"role": "assistant", "content": "I look.", "tool_calls": [SENT_CALL]} == wire


def test_calls_without_ids_are_not_doubled() -> None:
    blocks: list[Any] = [
        {"type": "tool_use", "id": None, "name": "look", "input": {"city": city}}
        for city in ("Oslo", "Rome")
    ]
    parsed: list[Any] = [
        {"name": "look", "args": {"city": city}, "id": None} for city in ("Oslo", "Rome")
    ]

    named: list[Any] = [{**call, "id": f"c{number}"} for number, call in enumerate(parsed)]

    for message in (AIMessage(blocks), *(AIMessage(blocks, tool_calls=c) for c in (parsed, named))):
        assert ['{"city": "Oslo"}', '{"city": "Rome"}'] == [
            call["function"]["arguments"] for call in sent(message)["tool_calls"]
        ]


def test_a_call_with_malformed_arguments_is_sent_as_a_json_string() -> None:
    block = {"type": "invalid_tool_call", "id": "call_1", "name": "look", "args": '{"city": '}
    parsed: Any = {"name": "look", "args": '{"city": ', "id": "call_1", "error": None}

    for message in (AIMessage([block]), AIMessage([block], invalid_tool_calls=[parsed])):
        (call,) = sent(message)["tool_calls"]
        assert '{"city": ' == json.loads(call["function"]["arguments"])


def test_an_openai_custom_call_has_langchain_s_argument() -> None:
    block = {"type": "custom_tool_call", "call_id": "c", "name": "run", "input": "print(1)"}

    (call,) = sent(AIMessage([block]))["tool_calls"]

    assert {"name": "run", "arguments": '{"__arg1": "print(1)"}'} == call["function"]


FOREIGN: list[Json] = [
    {"type": "web_search_call", "id": "ws", "status": "completed"},
    {"type": "server_tool_call", "id": "s", "name": "web_search", "args": {}},
    {"type": "server_tool_result", "tool_call_id": "s", "status": "success"},
    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
    {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
    {"type": "executable_code", "executable_code": "print(1)", "language": "PYTHON"},
    {"type": "code_execution_result", "code_execution_result": "1"},
    {"type": "image_generation_call", "id": "ig", "status": "completed"},
    {"type": "tool_result", "tool_use_id": "s", "content": "x"},
    {"type": "tool_call_chunk", "id": "c", "name": "f", "args": "{"},
    {"type": "non_standard", "value": {"type": "compaction", "encrypted": "x"}},
    {"type": "non_standard", "value": "x"},
    {"type": "non_standard"},
    {"type": "redacted_thinking", "data": "x"},
    {"cachePoint": {"type": "default"}},
    {},
]


@pytest.mark.parametrize("block", FOREIGN)
def test_what_only_another_provider_can_read_is_left_out(block: Json) -> None:
    assert {"role": "assistant", "content": "yes"} == sent(AIMessage([block, "yes"]))


@pytest.mark.parametrize(
    "block",
    [
        {"cachePoint": {"type": "default"}},
        {"type": "non_standard", "value": {"type": "compaction"}},
        {"type": "server_tool_result", "tool_call_id": "s"},
        {"type": "mcp_approval_response", "approval_request_id": "a", "approve": True},
    ],
)
def test_marks_of_a_provider_in_a_question_are_left_out(block: Json) -> None:
    assert {"role": "user", "content": "hi"} == sent(HumanMessage(["hi", block]))


def test_a_tool_message_may_hold_results_in_the_form_of_anthropic() -> None:
    content = [{"type": "tool_result", "tool_use_id": "c", "content": "sunny"}]
    expected = {"role": "tool", "tool_call_id": "c", "content": "sunny"}

    assert expected == sent(ToolMessage(content, tool_call_id="c"))


def test_results_in_a_question_come_right_after_their_calls() -> None:
    results = [
        {
            "type": "tool_result",
            "tool_use_id": "c1",
            "content": [{"type": "text", "text": "sunny"}],
        },
        {"type": "tool_result", "tool_use_id": "c2", "content": "cold", "is_error": True},
        {"type": "tool_result", "tool_use_id": "c3"},
    ]

    assert [
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": "Error: cold"},
        {"role": "tool", "tool_call_id": "c3", "content": ""},
        {"role": "user", "content": "And?"},
    ] == to_openai_messages([HumanMessage([*results, "And?"])])


@pytest.mark.parametrize(
    "block",
    [
        {"type": "custom_tool_call_output", "output": "sunny"},
        {"type": "function_call_output", "output": [{"type": "input_text", "text": "sunny"}]},
        {"type": "non_standard", "value": {"type": "custom_tool_call_output", "output": "sunny"}},
    ],
)
def test_results_in_the_form_of_openai_are_text(block: Json) -> None:
    message = ToolMessage([block], tool_call_id="c")

    assert {"role": "tool", "tool_call_id": "c", "content": "sunny"} == sent(message)


def nested(levels: int) -> Json:
    block: Json = {"type": "text", "text": "deep"}
    for _ in range(levels):
        block = {"type": "non_standard", "value": block}
    return block


@pytest.mark.parametrize("kind", [AIMessage, HumanMessage])
def test_blocks_nested_in_blocks_are_read_to_a_depth(kind: Any) -> None:
    assert "deep" == sent(kind([nested(8)]))["content"]
    for levels in (20, 5000):
        with pytest.raises(MlxcelError, match=r"messages\[1\]\.content\[0\].*nested too deeply"):
            to_openai_messages([HumanMessage("hi"), kind([nested(levels)])])


def test_lists_nested_in_lists_are_read_to_a_depth() -> None:
    content: Any = "deep"
    for _ in range(5000):
        content = [content]

    with pytest.raises(MlxcelError, match=r"messages\[0\]\.content\[0\].*nested too deeply"):
        to_openai_messages([HumanMessage([{"type": "tool_result", "content": content}])])


def test_what_is_neither_text_nor_a_block_is_named() -> None:
    result = {"type": "tool_result", "tool_use_id": "c", "content": ["x", 5]}

    with pytest.raises(MlxcelError, match=r"messages\[0\]\.content\[0\]\.content\[1\] is int, not"):
        to_openai_messages([HumanMessage([result])])


@pytest.mark.parametrize(("value", "text"), [("nan", "NaN"), ("-inf", "-Infinity")])
def test_numbers_that_are_not_json_are_sent_in_a_json_string(value: str, text: str) -> None:
    call: Any = {"name": "look", "args": {"day": float(value)}, "id": "c"}
    (wire,) = sent(AIMessage("", tool_calls=[call]))["tool_calls"]

    assert f'{{"day": {text}}}' == json.loads(wire["function"]["arguments"])


def test_arguments_that_are_not_json_are_named_with_their_message() -> None:
    call: Any = {"name": "look", "args": {"day": object()}, "id": "c"}

    with pytest.raises(MlxcelError, match=r"messages\[1\] has a tool call whose arguments"):
        to_openai_messages([HumanMessage("hi"), AIMessage("", tool_calls=[call])])
    with pytest.raises(MlxcelError, match=r"messages\[1\] cannot be sent: content\[0\]"):
        to_openai_messages([HumanMessage("hi"), AIMessage([{"type": "tool_call", **call}])])


def test_what_is_not_part_of_a_conversation_is_named() -> None:
    with pytest.raises(MlxcelError, match=r"messages\[1\] is RemoveMessage"):
        to_openai_messages([HumanMessage("hi"), RemoveMessage(id="m")])


def test_an_answer_may_be_a_message_with_a_role() -> None:
    message = ChatMessage(["I ", {"type": "redacted_thinking"}, "look."], role="assistant")

    assert {"role": "assistant", "content": "I \nlook."} == sent(message)


def test_roles_and_names_are_kept() -> None:
    assert {"role": "developer", "content": "x"} == sent(ChatMessage("x", role="developer"))
    assert {"role": "user", "name": "Ann", "content": "x"} == sent(HumanMessage("x", name="Ann"))
    assert {"role": "assistant", "name": "B", "content": "x"} == sent(AIMessage("x", name="B"))
