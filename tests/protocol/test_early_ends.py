"""JSON that ends too early, or with the error of mlxcel 0.4.2, is no empty or plain success."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from mlxcel_integrations import MlxcelStreamError, StructuredOutputTruncated
from mlxcel_integrations.protocol.answers.chat_streams import SchemaStream
from mlxcel_integrations.protocol.answers.reply import fold
from mlxcel_integrations.protocol.answers.stream import DeltaStream
from mlxcel_integrations.protocol.completions import CompletionStream
from mlxcel_integrations.protocol.generation_request import reader_factory
from mlxcel_integrations.protocol.tools.call_streams import CallStream, PromptedStream

ONE, TWO = frozenset({"weather"}), frozenset({"weather", "news"})
FORMAT = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}

MAKERS: dict[str, Callable[[], DeltaStream]] = {
    "forced": partial(CallStream, ONE, required=True),
    "one of two forced": partial(CallStream, TWO, required=True),
    "call or checked answer": partial(CallStream, ONE),
    "call or answer": partial(CallStream, ONE, must_end=True),
    "prompted and forced": partial(PromptedStream, ONE, required=True),
    "prompted": partial(PromptedStream, ONE),
    "checked schema": SchemaStream,
    "schema": partial(SchemaStream, must_end=True),
    "completion": lambda: reader_factory(CompletionStream, FORMAT)(),
}
CALL = '{"name": "weather", "arguments": {"city": "Oslo"}}'
CUT = '{"name": "weather", "arguments": {"ci'


def outcome(kind: str, text: str, finish: str) -> Any:
    """Return the call, the text or the error that an answer in two pieces is."""
    stream, half = MAKERS[kind](), len(text) // 2
    choices: list[dict[str, Any]] = [
        {"delta": {"content": piece}, "text": piece} for piece in (text[:half], text[half:])
    ]
    choices.append({"delta": {}, "finish_reason": finish})
    events = [json.dumps({"choices": [choice]}) for choice in choices]
    reply = fold(stream.feed("".join(f"data: {e}\n\n" for e in [*events, "[DONE]"]).encode()))
    try:
        stream.close()
    except MlxcelStreamError as error:
        return MlxcelStreamError, error.partial
    except StructuredOutputTruncated as error:
        return StructuredOutputTruncated, error.raw, error.finish_reason
    if reply.tool_calls is None:
        return reply.text, reply.finish_reason
    assert "" == reply.text
    (function,) = (call["function"] for call in reply.tool_calls)
    return function["name"], function["arguments"], reply.finish_reason


CUT_CALLS: list[tuple[str, str, str]] = [
    ("", "weather", "{"),
    (" \n", "weather", "{"),
    ("{", "weather", "{"),
    ('{"na', "weather", '{"na'),
    ('{"name": "wea', "weather", '{"name": "wea'),
    ('{"name": "weather", "argu', "weather", "{"),
    (CUT, "weather", '{"ci'),
]


@pytest.mark.parametrize("finish", ["length", "stop"])
@pytest.mark.parametrize("kind", ["forced", "prompted and forced"])
@pytest.mark.parametrize(("text", "name", "arguments"), CUT_CALLS)
def test_a_forced_call_that_was_cut_is_a_call_without_whole_arguments(
    kind: str, text: str, name: str, arguments: str, finish: str
) -> None:
    assert (name, arguments, finish) == outcome(kind, text, finish)


def test_a_call_that_was_cut_before_its_name_has_none_if_there_are_several_tools() -> None:
    assert ("", '{"na', "length") == outcome("one of two forced", '{"na', "length")
    assert ("weather", '{"ci', "length") == outcome("one of two forced", CUT, "length")


@pytest.mark.parametrize(
    "text",
    [
        '{"n": 5}',
        "{}",
        "[]",
        '"weather"',
        "null",
        '{"name": "weather"}',
        '{"name": "weather", "arguments": 5}',
        '{"name": "other", "arguments": {}}',
        CUT,
        "Sure",
    ],
)
@pytest.mark.parametrize("kind", ["forced", "prompted and forced", "prompted"])
def test_what_fails_and_is_no_call_is_an_error(kind: str, text: str) -> None:
    assert (MlxcelStreamError, text) == outcome(kind, text, "error")


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if "call" in kind or "forced" in kind])
def test_a_whole_call_that_fails_is_a_call(kind: str) -> None:
    assert ("weather", '{"city": "Oslo"}', "tool_calls") == outcome(kind, CALL, "error")


@pytest.mark.parametrize("kind", ["call or checked answer", "call or answer"])
def test_a_call_that_was_chosen_and_cut_is_a_call(kind: str) -> None:
    assert ("weather", '{"ci', "stop") == outcome(kind, CUT, "stop")


EARLY = ["", '{"a', '{"a": "b', '{"a": {"b": 1}', "[1, 2"]


@pytest.mark.parametrize("text", EARLY)
@pytest.mark.parametrize("kind", ["schema", "call or answer", "completion"])
def test_json_that_ends_in_the_middle_is_an_error(kind: str, text: str) -> None:
    assert (StructuredOutputTruncated, text, "stop") == outcome(kind, text, "stop")


@pytest.mark.parametrize("text", EARLY)
@pytest.mark.parametrize("kind", ["checked schema", "call or checked answer"])
def test_it_is_left_to_those_who_check_the_answer(kind: str, text: str) -> None:
    assert (text, "stop") == outcome(kind, text, "stop")


@pytest.mark.parametrize("text", EARLY)
@pytest.mark.parametrize("kind", ["schema", "call or answer", "completion"])
def test_the_finish_reason_says_that_max_tokens_has_cut_it(kind: str, text: str) -> None:
    assert (text, "length") == outcome(kind, text, "length")


@pytest.mark.parametrize("text", ['{"a": 1}', "[1]", "5", '"a"', "true", "Well."])
@pytest.mark.parametrize("kind", ["schema", "call or answer", "completion"])
def test_whole_json_and_the_text_of_a_server_without_schemas_are_answers(
    kind: str, text: str
) -> None:
    assert (text, "stop") == outcome(kind, text, "stop")


@pytest.mark.parametrize(
    ("text", "partial"),
    [("", ""), ('{"an', '{"an'), ('{"answer": "Well, it', "Well, it"), ('{"answer": [1', "[1")],
)
def test_an_answer_with_prompted_tools_that_ends_in_the_middle_is_an_error(
    text: str, partial: str
) -> None:
    assert (MlxcelStreamError, partial) == outcome("prompted", text, "stop")


@pytest.mark.parametrize("kind", MAKERS)
def test_every_answer_that_fails_in_the_middle_is_an_error(kind: str) -> None:
    assert (MlxcelStreamError, '{"a": [1') == outcome(kind, '{"a": [1', "error")


@pytest.mark.parametrize("kind", MAKERS)
def test_an_answer_that_is_cut_off_says_by_what(kind: str) -> None:
    stream = MAKERS[kind]()

    with pytest.raises(MlxcelStreamError, match="cut short: the server has crashed before") as cut:
        stream.close("the server has crashed", "out of memory")
    assert "out of memory" == cut.value.stderr


@pytest.mark.parametrize("may_repeat", [False, True])
@pytest.mark.parametrize("kind", [CallStream, PromptedStream])
def test_json_that_repeats_itself_is_left_unless_it_may(kind: Any, may_repeat: bool) -> None:
    streams = [kind(ONE, may_repeat=may_repeat), *([] if may_repeat else [kind(ONE)])]
    choice = {"delta": {"content": '{"a": "' + "la la " * 200}}
    event = b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
    for stream in streams:
        stream.feed(event)

        assert may_repeat is not stream.left


def test_a_second_finish_reason_tells_no_text_again() -> None:
    choice = {"delta": {"content": "Hello"}, "finish_reason": "stop"}
    again = {"delta": {}, "finish_reason": "stop"}
    events = [json.dumps({"choices": [each]}) for each in (choice, again)]
    deltas = CallStream(ONE).feed("".join(f"data: {each}\n\n" for each in events).encode())

    assert ["Hello", ""] == [delta.text for delta in deltas]
