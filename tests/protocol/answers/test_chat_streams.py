"""Streamed answers of chats: what their events become, and where they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest

from mlxcel_integrations.errors import MlxcelStreamError
from mlxcel_integrations.protocol.answers.chat_streams import ChatStream, SchemaStream
from mlxcel_integrations.protocol.answers.delta import Delta
from mlxcel_integrations.protocol.answers.repetition import MAX_BLANK
from mlxcel_integrations.protocol.answers.reply import ChatReply, fold
from mlxcel_integrations.protocol.answers.stream import DeltaStream
from mlxcel_integrations.protocol.chat import chat_request
from mlxcel_integrations.protocol.features import ServerFeatures
from mlxcel_integrations.protocol.messages import inspect

PROBABLE = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"delta": {"content": "a"}}, Delta("a")),
        ({"delta": {"reasoning_content": "hm"}}, Delta(reasoning="hm")),
        ({"delta": {"reasoning": "hm"}}, Delta(reasoning="hm")),
        ({"delta": {"reasoning": "hm", "reasoning_content": "hm"}}, Delta(reasoning="hm")),
        ({"delta": {"content": "a", "reasoning_content": "hm"}}, Delta("a", "hm")),
        (
            {"delta": {"tool_calls": [{"index": 0, "id": "c"}]}},
            Delta(tool_calls=[{"index": 0, "id": "c"}]),
        ),
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


@pytest.mark.parametrize("make", [ChatStream, SchemaStream, partial(SchemaStream, must_end=True)])
def test_a_refusal_is_a_text_that_says_so_at_its_end(make: Callable[[], ChatStream]) -> None:
    stream = make()
    parts = [{"role": "assistant", "content": None}, {"refusal": "I "}, {"refusal": "cannot."}, {}]
    choices = [{"delta": part, "finish_reason": None if part else "stop"} for part in parts]
    data = b"".join(
        b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n" for choice in choices
    )

    reply = fold(stream.feed(data))
    stream.close()

    assert ("I cannot.", "refusal") == (reply.text, reply.finish_reason)


@pytest.mark.parametrize(
    ("text", "thoughts", "expected"),
    [
        ("", '{"a": 1}', '{"a": 1}'),
        (" \n", '\n{"a"', '\n{"a"'),
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
    stream = chat_request("m", inspect("hi"), {"response_format": schema}).stream()
    parts = [*({"reasoning_content": token} for token in thoughts), {"content": text}]
    frames: list[Any] = [{"choices": [{"delta": part}]} for part in parts]
    frames.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    data = b"".join(b"data: " + json.dumps(frame).encode() + b"\n\n" for frame in frames)

    reply = fold(stream.feed(data + b"data: [DONE]\n\n"))

    assert (expected, thoughts) == (reply.text, reply.reasoning)


# --------------------------------------------------------------------------- ends of answers

SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {}}}
USED = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 9, "total_tokens": 10}}


def stream_of(
    *events: Any, done: bool = True, server: ServerFeatures | None = None, **fields: Any
) -> tuple[DeltaStream, ChatReply]:
    """Return the stream of a request that was fed events, and what it has read."""
    stream = chat_request("m", inspect("hi"), fields, server).stream()
    frames = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
    deltas: list[Delta] = []
    for frame in [*frames, b"data: [DONE]\n\n" if done else b":\n\n"]:
        if not stream.done:
            deltas += stream.feed(frame)
    return stream, fold(deltas)


def told(text: str = "", finish: str | None = None, **more: Any) -> Any:
    choice = {"delta": {"content": text} if text else {}, "finish_reason": finish}
    return {"choices": [choice], **more}


def thought(text: str) -> Any:
    return {"choices": [{"delta": {"reasoning_content": text}, "finish_reason": None}]}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["\n\n", "The", " end"], "The end"),
        ([" Paris"], "Paris"),
        (["a", " \n", "b"], "a \nb"),
        (["\n", " "], ""),
    ],
)
def test_white_space_before_an_answer_is_left_out(texts: list[str], expected: str) -> None:
    _, reply = stream_of(*map(told, texts), told(finish="stop"))

    assert expected == reply.text


def test_an_answer_is_left_at_a_stop_text_that_the_server_does_not_heed() -> None:
    events = [told("one"), told(" tw"), told("o three", model="m"), told("four")]

    stream, reply = stream_of(*events, done=False, stop=["two"])

    stream.close()
    assert ("one ", "stop") == (reply.text, reply.finish_reason)
    assert {"completion_tokens": 3} == reply.usage
    assert (True, True, "m") == (stream.done, stream.left, stream.model)


def test_a_server_that_stops_by_itself_is_read_to_its_end() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}

    stream, reply = stream_of(
        told("one\nObs"),
        told(finish="stop"),
        {"choices": [], "usage": usage},
        stop="\nObservation:",
    )

    assert ("one\nObs", "stop", usage) == (reply.text, reply.finish_reason, reply.usage)
    assert (True, False) == (stream.done, stream.left)


def test_text_that_was_held_back_is_part_of_a_broken_answer() -> None:
    stream, reply = stream_of(told("one\nObs"), done=False, stop="\nObservation:")

    with pytest.raises(MlxcelStreamError) as caught:
        stream.close()
    assert ("one", "one\nObs") == (reply.text, caught.value.partial)


@pytest.mark.parametrize("finish", ["error", "stop", "length"])
def test_whole_json_is_an_answer_whatever_the_finish_reason(finish: str) -> None:
    stream, reply = stream_of(
        told('{"a":'), told(" [1]}"), told(finish=finish, model="m"), response_format=SCHEMA
    )

    stream.close()
    assert ('{"a": [1]}', finish) == (reply.text, reply.finish_reason)


@pytest.mark.parametrize("text", ['{"a":', "", "[1, 2", "7", "Sorry"])
def test_json_that_is_not_whole_when_the_generation_fails_is_an_error(text: str) -> None:
    stream, _ = stream_of(told(text), told(finish="error"), response_format=SCHEMA)

    with pytest.raises(MlxcelStreamError, match="the generation failed") as caught:
        stream.close()
    assert text == caught.value.partial


@pytest.mark.parametrize("after", [" ", "\n\n", ', "b"', "{"])
def test_an_answer_is_left_when_its_json_is_whole_and_the_server_goes_on(after: str) -> None:
    stream, reply = stream_of(
        told('{"a"'), told(": 1}"), *[told(after)] * 9, done=False, response_format=SCHEMA
    )

    stream.close()
    assert ('{"a": 1}', "stop") == (reply.text, reply.finish_reason)
    assert (True, {"completion_tokens": 5}) == (stream.left, reply.usage)


@pytest.mark.parametrize(
    ("begun", "after", "finish", "tokens"),
    [
        ('{"a": 1}', ["\n"] * 9, "stop", 4),
        ('{"a": 1}', [" \n"] * 2, None, None),
        ('{"a": 1}', [" fits", *["\n"] * 9], None, None),
        ("[" * 300, [" "] * 9, None, None),
        ('{"a": "', ["la la "] * 2000, "repetition", 110),
    ],
    ids=["ends", "may end", "is a thought", "never ends", "repeats itself"],
)
def test_json_where_the_thoughts_belong_is_left_as_an_answer_is(
    begun: str, after: list[str], finish: str | None, tokens: int | None
) -> None:
    events = map(thought, [begun[:4], begun[4:], *after])

    stream, reply = stream_of(*events, done=False, response_format=SCHEMA)

    assert (finish, bool(finish)) == (reply.finish_reason, stream.left)
    assert (begun if finish else "") == reply.text[: len(begun)]
    assert ({"completion_tokens": tokens} if tokens else None) == reply.usage


def test_json_where_the_thoughts_belong_is_not_left_beside_a_text() -> None:
    events = [told("x"), *map(thought, ['{"a": 1}', *["\n"] * 9])]

    stream, reply = stream_of(*events, done=False, response_format=SCHEMA)

    assert ("x", False) == (reply.text, stream.left)


@pytest.mark.parametrize(
    ("pieces", "fields", "finish"),
    [
        ([" "] * MAX_BLANK, {}, None),
        ([" "] * MAX_BLANK + ["\n"], {}, "repetition"),
        ([" \n"] * MAX_BLANK, {"bounded": False}, None),
        (['{"a": 1'] + [" "] * MAX_BLANK + ["}"], {}, None),
    ],
    ids=["may begin", "never begins", "is read to its end", "has begun"],
)
def test_an_answer_of_white_space_is_left_before_its_json_begins(
    pieces: list[str], fields: dict[str, Any], finish: str | None
) -> None:
    stream, reply = stream_of(*map(told, pieces), done=False, response_format=SCHEMA, **fields)

    assert (finish, bool(finish)) == (reply.finish_reason, stream.left)


@pytest.mark.parametrize("after", [[], ["\n"], ["\n", "  "]])
def test_a_server_that_ends_with_the_json_is_read_to_its_end(after: list[str]) -> None:
    events = [told('{"a": 1}'), *map(told, after), told(finish="stop"), USED]

    stream, reply = stream_of(*events, response_format=SCHEMA)

    assert ('{"a": 1}', False, USED["usage"]) == (reply.text, stream.left, reply.usage)


@pytest.mark.parametrize("text", ['"small"', "true", "null", "[]"])
def test_values_that_are_whole_are_answers_although_the_generation_fails(text: str) -> None:
    stream, reply = stream_of(told(text), told(finish="error"), response_format=SCHEMA)

    stream.close()
    assert text == reply.text


def test_thoughts_count_as_tokens_of_an_answer_that_is_left() -> None:
    events = [thought("Hm"), thought("Hm"), told("one"), told(" two")]

    _, reply = stream_of(*events, done=False, stop=["two"])

    assert {"completion_tokens": 4} == reply.usage


NO_TOOLS = ServerFeatures("mlxcel", "build 1", (), None, None, False, frozenset())
"""Its chat template knows no tools, which are told of in the prompt."""


@pytest.mark.parametrize(
    ("fields", "events", "completion", "total"),
    [
        ({"response_format": SCHEMA}, [told("{}"), told(finish="stop"), USED], 14, 15),
        ({"response_format": SCHEMA}, [told("{}"), told(finish="error")], 6, None),
        ({"tools": [TOOL], "stop": ["two"]}, [told("one"), told(" two")], 7, None),
    ],
    ids=["ended", "failed", "left"],
)
def test_thoughts_of_a_request_before_this_one_count(
    fields: dict[str, Any], events: list[Any], completion: int, total: int | None
) -> None:
    stream = chat_request("m", inspect("hi"), fields, NO_TOOLS).stream()
    stream.thought_tokens = 5
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)

    usage = fold(stream.feed(data)).usage

    assert usage
    assert (completion, total) == (usage["completion_tokens"], usage.get("total_tokens"))
    assert {"reasoning_tokens": 5} == usage["completion_tokens_details"]


@pytest.mark.parametrize(("finish", "more"), [("error", ()), (None, (" ", " ", " "))])
def test_a_forced_call_ends_with_its_json(finish: str | None, more: tuple[str, ...]) -> None:
    events = [told('{"name": "weather", "arg'), told('uments": {}}'), *map(told, more)]
    end = [told(finish=finish)] if finish else []

    stream, reply = stream_of(*events, *end, done=False, tools=[TOOL], tool_choice="any")

    stream.close()
    assert ("", "tool_calls") == (reply.text, reply.finish_reason)
    assert reply.tool_calls
    assert {"name": "weather", "arguments": "{}"} == reply.tool_calls[0]["function"]


@pytest.mark.parametrize("finish", ["stop", "tool_calls"])
def test_a_call_that_the_server_left_out_is_an_error(finish: str) -> None:
    stream, _ = stream_of(told(finish=finish), USED, tools=[TOOL])

    with pytest.raises(MlxcelStreamError) as caught:
        stream.close()
    assert (
        "The model generated 9 tokens, but the server sent neither text nor a tool call: it drops "
        "a call that is cut off or malformed. Ask again, or raise max_tokens."
    ) == str(caught.value)


def test_an_answer_with_calls_has_lost_none() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "weather", "arguments": "{}"}}
    called = {"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": None}]}

    stream, reply = stream_of(called, told(finish="tool_calls"), USED, tools=[TOOL])

    stream.close()
    assert reply.tool_calls


def test_an_answer_beside_tools_that_breaks_off_says_why() -> None:
    stream, _ = stream_of(told("Well"), done=False, tools=[TOOL])

    with pytest.raises(MlxcelStreamError, match="cut short: the server died before") as caught:
        stream.close("the server died", "out of memory")
    assert ("Well", "out of memory") == (caught.value.partial, caught.value.stderr)


@pytest.mark.parametrize("thoughts", [["Hm"], ["H", "m"] * 20, ["中"]])
@pytest.mark.parametrize("finish", ["stop", "tool_calls"])
@pytest.mark.parametrize("reported", [True, False])
def test_a_call_that_the_server_left_out_after_thoughts_is_an_error(
    thoughts: list[str], finish: str, reported: bool
) -> None:
    tokens = len(thoughts) + 20
    usage: dict[str, Any] = {"completion_tokens": tokens}
    if reported:
        usage["completion_tokens_details"] = {"reasoning_tokens": len(thoughts) + 3}
    events = [thought(text) for text in thoughts]

    stream, reply = stream_of(
        *events, told(finish=finish), {"choices": [], "usage": usage}, tools=[TOOL]
    )

    assert "".join(thoughts) == reply.reasoning
    with pytest.raises(
        MlxcelStreamError,
        match=f"{tokens} tokens, but the server sent neither text nor a tool call after the thou",
    ):
        stream.close()


def used(tokens: int, **details: int) -> dict[str, Any]:
    more = {"completion_tokens_details": details} if details else {}
    return {"choices": [], "usage": {"completion_tokens": tokens, **more}}


OLDER = ServerFeatures("mlxcel", None, (), None, None, None, frozenset())
"""mlxcel up to v0.4.2, which sends each token of a text by itself."""
NEWER = ServerFeatures("mlxcel", "build 1", (), None, None, None, frozenset())


@pytest.mark.parametrize(
    ("texts", "tokens"),
    [
        (["I will", " look it", " up.\n"], 12),
        (["\n\n", "Well"], 11),
        (["日本", " früh"], 20),
        (["a < b"], 14),
    ],
)
@pytest.mark.parametrize("thoughts", [[], ["Hm", "."]])
def test_a_call_that_the_server_left_out_after_text_is_an_error(
    texts: list[str], tokens: int, thoughts: list[str]
) -> None:
    events = [*map(thought, thoughts), *map(told, texts), told(finish="stop")]

    stream, reply = stream_of(*events, used(tokens + len(thoughts)), tools=[TOOL], server=OLDER)

    assert "".join(texts).lstrip() == reply.text
    told_why = "server sent no more than the text before a tool call, which is in .partial: it"
    with pytest.raises(MlxcelStreamError, match=told_why) as caught:
        stream.close()
    assert reply.text == caught.value.partial


@pytest.mark.parametrize(
    ("server", "events", "tokens"),
    [
        (OLDER, [told("I will"), told(" see.")], 2),
        # A few more may be marks that are not sent.
        (OLDER, [told("I will"), told(" see.")], 10),
        # Bytes of a character may be tokens of their own, and what looks like a call is held back.
        (OLDER, [told("語")] * 10, 30),
        (OLDER, [told("<b>Oslo</b>")] * 10, 90),
        (OLDER, [thought("Hm"), told("Yes.")], 6),
        # Left at the stop text.
        (OLDER, [told("Yes. stop")], 60),
        (NEWER, [told("I will see.")], 60),
        (None, [told("I will see.")], 60),
    ],
)
def test_answers_in_text_beside_tools_are_answers(
    server: ServerFeatures | None, events: list[Any], tokens: int
) -> None:
    stream, reply = stream_of(
        *events, told(finish="stop"), used(tokens), tools=[TOOL], server=server, stop=["stop"]
    )

    stream.close()
    assert reply.text


@pytest.mark.parametrize("server", [OLDER, NEWER, None])
def test_a_call_that_is_only_named_by_the_finish_reason_is_an_error(
    server: ServerFeatures | None,
) -> None:
    stream, _ = stream_of(
        told("I will."), told(finish="tool_calls"), used(3), tools=[TOOL], server=server
    )

    with pytest.raises(MlxcelStreamError, match="sent no more than the text before"):
        stream.close()


@pytest.mark.parametrize(
    ("server", "tokens", "dropped"),
    [(OLDER, 0, False), (OLDER, 1, True), (NEWER, 1, False), (NEWER, 2, True)],
)
def test_a_token_that_is_not_sent_is_a_call_unless_it_ends_the_answer(
    server: ServerFeatures, tokens: int, dropped: bool
) -> None:
    """mlxcel up to v0.4.2 does not count the token that ends an answer."""
    stream, _ = stream_of(told(finish="stop"), used(tokens), tools=[TOOL], server=server)

    with pytest.raises(MlxcelStreamError, match="neither") if dropped else nullcontext():
        stream.close()


def test_an_answer_that_begins_with_a_stop_text_is_empty() -> None:
    """Whoever stops it: the client, or a server that does so by itself."""
    left, reply = stream_of(told("one"), told(" two"), done=False, tools=[TOOL], stop=["one two"])
    ended, _ = stream_of(told(finish="stop"), USED, server=NEWER, tools=[TOOL], stop=["one two"])

    left.close()
    ended.close()
    assert ("", "stop", {"completion_tokens": 2}) == (reply.text, reply.finish_reason, reply.usage)


@pytest.mark.parametrize(
    ("events", "choice"),
    [
        ([told("hi"), told(finish="stop"), USED], "auto"),
        ([told(finish="length"), USED], "auto"),
        ([told(finish="stop"), {"choices": [], "usage": {"completion_tokens": 1}}], "auto"),
        ([told(finish="stop")], "auto"),
        ([told(finish="stop"), USED], "none"),
        ([thought("Hm"), told(finish="stop"), USED], None),
        ([thought("Hm"), told(finish="length"), used(60)], None),
        ([thought("Hm"), told("yes"), told(finish="stop"), used(60)], None),
        ([*[thought("m")] * 60, told(finish="stop"), used(68)], None),
        ([thought("日本語" * 9), told(finish="stop"), used(60)], None),
        ([thought("Hm " * 20), told(finish="stop"), used(60, reasoning_tokens=55)], None),
        ([thought("Hm"), told(finish="stop")], None),
        ([{"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]}, told(finish="stop")], None),
    ],
)
def test_other_silent_ends_beside_tools_are_answers(events: list[Any], choice: str | None) -> None:
    stream, _ = stream_of(*events, tools=[TOOL], tool_choice=choice)

    stream.close()


@pytest.mark.parametrize(
    ("thoughts", "expected"),
    [
        (['{"a": 1}', "\n\n", "\n\n", "\n\n", "\n\n", "No."], ""),
        (['{"a": 1}'], '{"a": 1}'),
        (['{"a": 1} is wrong'], ""),
        (['{"a": '], ""),
    ],
)
def test_only_thoughts_that_are_json_and_nothing_else_are_the_answer_of_a_model_that_thinks(
    thoughts: list[str], expected: str
) -> None:
    stream = SchemaStream()
    stream.expect_thoughts()
    parts = [{"delta": {"reasoning_content": text}} for text in thoughts]
    choices = [*parts, {"delta": {}, "finish_reason": "length"}]
    events = [json.dumps({"choices": [choice]}).encode() for choice in choices]

    reply = fold(delta for event in events for delta in stream.feed(b"data: " + event + b"\n\n"))

    assert ("".join(thoughts), expected) == (reply.reasoning, reply.text)
