"""A streamed answer: its deltas, how it ends, and what is left of it when it breaks."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxcel_integrations.errors import MlxcelStreamError
from mlxcel_integrations.protocol.answers.chat_streams import ChatStream
from mlxcel_integrations.protocol.answers.delta import Delta
from mlxcel_integrations.protocol.answers.reply import fold
from mlxcel_integrations.protocol.answers.stream import DeltaStream

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
TIMINGS = {"predicted_per_second": 70.5}
DONE = b"data: [DONE]\n\n"


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chat-1", "model": "m", "choices": [choice]}


def said(text: str) -> bytes:
    return event(chunk(content=text))


TEXTS = ["", "Grüß", " \u2028日本\u0085", "🎉\n"]
FRAMES = [
    event(chunk(role="assistant")),
    b":\n\n",
    *map(said, TEXTS),
    event(chunk("stop")),
    event({"choices": [], "usage": USAGE, "timings": TIMINGS}),
    DONE,
]
WIRE = b"".join(FRAMES)
EXPECTED = [
    *(Delta(text) for text in TEXTS if text),
    Delta(finish_reason="stop", model="m", id="chat-1"),
    Delta(usage=USAGE, timings=TIMINGS),
]


def read(pieces: Iterable[bytes], stream: DeltaStream | None = None) -> list[Delta]:
    """Do what the clients do: read until the stream is done."""
    stream = stream or ChatStream()
    deltas: list[Delta] = []
    for piece in pieces:
        deltas += stream.feed(piece)
        if stream.done:
            break
    stream.close()
    return deltas


def single_bytes(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


PROGRESS = {"total": 10, "cache": 2, "processed": 4, "time_ms": 5}
CALL = {"index": 0, "id": "1", "function": {"name": "weather", "arguments": ""}}


@pytest.mark.parametrize(
    ("adds", "sent"),
    [
        ("text", chunk(content="Hi")),
        ("reasoning", chunk(reasoning_content="hm")),
        ("tool_calls", chunk(tool_calls=[CALL])),
        ("finish_reason", chunk("stop")),
        ("logprobs", {"choices": [{"delta": {}, "logprobs": {"content": []}}]}),
        ("usage", {"choices": [], "usage": USAGE}),
        ("timings", {"choices": [], "timings": TIMINGS}),
        ("prompt_progress", {"choices": [], "prompt_progress": PROGRESS}),
        (None, chunk(role="assistant")),
        (None, chunk(content="")),
        (None, {"choices": []}),
    ],
)
def test_an_event_makes_a_delta_if_it_adds_anything(adds: str | None, sent: Any) -> None:
    deltas = ChatStream().feed(event(sent))

    assert (adds is not None) == bool(deltas)
    assert all(getattr(delta, str(adds)) for delta in deltas)


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
def test_deltas_do_not_depend_on_chunks(line_end: bytes) -> None:
    wire = WIRE.replace(b"\n\n", line_end * 2)

    assert EXPECTED == read([wire])
    assert EXPECTED == read(single_bytes(wire))
    for at in range(len(wire)):
        assert EXPECTED == read([wire[:at], wire[at:]])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, len(WIRE))))
def test_deltas_survive_any_splits(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(WIRE)]

    assert EXPECTED == read(WIRE[a:b] for a, b in itertools.pairwise(edges))


@pytest.mark.parametrize("trailing", [b"junk", b"data: junk\n\n", said("more"), DONE, b"\0" * 9])
def test_what_follows_done_is_ignored(trailing: bytes) -> None:
    assert EXPECTED == read([WIRE + trailing]) == read(single_bytes(WIRE + trailing))


def test_a_cut_keeps_exactly_the_text_so_far() -> None:
    """At every byte; it is no error any more once the finish reason has come."""
    finished = WIRE.index(event(chunk("stop"))) + len(event(chunk("stop")))
    for cut in range(len(WIRE)):
        expected = ""
        for number, text in enumerate(TEXTS, start=2):
            if len(b"".join(FRAMES[: number + 1])) <= cut:
                expected += text
        stream = ChatStream()
        stream.feed(WIRE[:cut])

        assert expected == stream.text
        assert not stream.done
        if cut >= finished:
            stream.close()
            continue
        with pytest.raises(MlxcelStreamError, match="cut short: the line broke") as caught:
            stream.close("the line broke")
        assert expected == caught.value.partial


@pytest.mark.parametrize(
    "ending", [DONE, event(chunk("stop")), event(chunk("length"))], ids=["done", "stop", "length"]
)
def test_either_ending_completes_an_answer(ending: bytes) -> None:
    assert "hi" == fold(read([said("hi") + ending])).text


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"data: {\n\n", "not a JSON object: '{'"),
        (b"data: \xff\n\n", "not a JSON object"),
        (b"data: <html>\n\n", "not a JSON object: '<html>'"),
        (b"data: \n\n", "not a JSON object"),
        (b"data: " + b"[" * 100_000 + b"\n\n", "not a JSON object"),
        (event([]), "not a JSON object"),
        (event("text"), "not a JSON object"),
        (event(None), "not a JSON object"),
        (event({"choices": [None]}), "unknown shape"),
        (event({"choices": [{}]}), "unknown shape"),
        (event({"choices": {"a": 1}}), "unknown shape"),
        (event({"choices": [{"delta": "text"}]}), "unknown shape"),
        (event(chunk(content=["a"])), "unknown shape"),
        (event(chunk(content=5)), "unknown shape"),
        (event(chunk(reasoning_content=5)), "unknown shape"),
        (event(chunk(tool_calls=["a"])), "unknown shape"),
        (event(chunk(tool_calls=[{"index": "0"}])), "unknown shape"),
        (event(chunk(tool_calls=[{"function": {"arguments": {}}}])), "unknown shape"),
        (event({"choices": [], "usage": [1]}), "unknown shape"),
        (event({"choices": [], "usage": {"total_tokens": 1.5}}), "unknown shape"),
        (event({"choices": [], "timings": "1 s"}), "unknown shape"),
        (event({"choices": [{"delta": {}, "logprobs": "x"}]}), "unknown shape"),
        (event({"choices": [{"delta": {}, "finish_reason": 1}]}), "unknown shape"),
        (event({**chunk("stop"), "model": 5}), "unknown shape"),
        (event({**chunk("stop"), "id": 5}), "unknown shape"),
        (event({"error": {"message": "out of memory"}}), "gave up on the answer: out of memory"),
        (event({"error": "out of memory"}), "gave up on the answer: out of memory"),
        (event({"error": {"code": 7}, "choices": []}), "gave up on the answer: {'code': 7}"),
        (event(chunk("error")), "gave up on the answer: the generation failed"),
        (event({**chunk("stop"), "error": {"message": "no memory"}}), "the answer: no memory"),
        (event({"code": 500, "message": "no memory"}), "gave up on the answer: no memory"),
        (event({"type": "server_error", "message": "no memory"}), "the answer: no memory"),
        (b'error: {"code": 500, "message": "no memory"}\n\n', "gave up on the answer: no memory"),
        (b'event: error\ndata: {"message": "no memory"}\n\n', "gave up on the answer: no memory"),
        (b'event:error\ndata: {"error": {"message": "no memory"}}\n\n', "the answer: no memory"),
        (b"event: error\ndata: no memory\n\n", "gave up on the answer: no memory"),
        (b"event: Error\ndata: no memory\n\n", "gave up on the answer: no memory"),
        (b"event: error\n\n", "gave up on the answer: an error without a message"),
        (event({"error": {}}), "gave up on the answer: an error without a message"),
        (b'{"error": {"message": "no memory"}}\n\n', "gave up on the answer: no memory"),
        (event({"choices": [{"delta": {}, "error": {"message": "no memory"}}]}), "no memory"),
        (event({"detail": "no memory"}), "gave up on the answer: no memory"),
        (event({"errors": [{"message": "no memory"}]}), "no memory"),
        (event({"status": 500, "message": "no memory"}), "gave up on the answer: no memory"),
        (event({"object": "error", "message": "no memory"}), "the answer: no memory"),
        (event({"message": "no memory"}), "gave up on the answer: no memory"),
        (b"event: error\ndata: null\n\n", "gave up on the answer: an error without a message"),
    ],
)
def test_an_event_that_is_none_keeps_the_text_so_far(bad: bytes, message: str) -> None:
    wire = said("a") + said("b") + bad + said("c") + DONE
    for pieces in ([wire], single_bytes(wire) if len(wire) < 1000 else [wire[:50], wire[50:]]):
        with pytest.raises(MlxcelStreamError) as caught:
            read(pieces)

        assert message in str(caught.value)
        assert "ab" == caught.value.partial


@pytest.mark.parametrize(
    ("stray", "shown"),
    [
        (event({"unknown": 1}), '{"unknown": 1}'),
        (b"Traceback (most recent call last):\n\n", "Traceback"),
    ],
    ids=["an event", "a line"],
)
def test_an_end_after_something_else_is_none_without_a_reason(stray: bytes, shown: str) -> None:
    with pytest.raises(MlxcelStreamError, match=r"without a finish reason\. It sent") as caught:
        read([said("ab") + stray + DONE])

    assert shown in str(caught.value)
    assert "ab" == caught.value.partial


def test_a_bad_event_is_shown_in_short() -> None:
    with pytest.raises(MlxcelStreamError) as caught:
        read([b"data: " + b"x" * 100_000 + b"\n\n"])

    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [], "usage": None, "timings": {}},
        {"choices": [], "error": None},
        {"unknown": 1},
        chunk(role="assistant", content=None),
        chunk(content=""),
        chunk(tool_calls=None, reasoning_content=None),
        chunk(tool_calls=[]),
    ],
    ids=str,
)
def test_events_that_add_nothing_are_passed_over(value: dict[str, Any]) -> None:
    deltas = read([said("a") + event(value) + event(chunk("stop")) + DONE])

    assert [Delta("a"), Delta(finish_reason="stop", model="m", id="chat-1")] == deltas


@pytest.mark.parametrize("value", [{}, {"choices": None}, {"choices": [], "usage": None}], ids=str)
def test_events_that_say_nothing_may_stand_before_an_end_without_a_reason(value: object) -> None:
    assert [Delta("a")] == read([said("a") + event(value) + DONE])


def test_an_answer_without_usage_is_complete() -> None:
    reply = fold(read([said("a") + event(chunk("stop")) + DONE]))

    assert ("a", "stop", None, None) == (
        reply.text,
        reply.finish_reason,
        reply.usage,
        reply.timings,
    )


def test_usage_may_come_with_the_finish_reason() -> None:
    last = {**chunk("length"), "usage": USAGE, "timings": TIMINGS}

    reply = fold(read([said("a") + event(last) + DONE]))

    assert (USAGE, TIMINGS, "length") == (reply.usage, reply.timings, reply.finish_reason)
    assert ("m", "chat-1") == (reply.model, reply.id)


PARTIAL = "The text so far is in .partial; "
ADDRESS = "check that the address is that of an mlxcel server."


@pytest.mark.parametrize(
    ("server", "who", "begins"),
    [
        (None, "the server", "The server"),
        ("gpu-1", "the server 'gpu-1'", "The server 'gpu-1'"),
    ],
)
def test_errors_say_who_and_what_to_do(server: str | None, who: str, begins: str) -> None:
    def told(*pieces: bytes, **why: str) -> str:
        stream = ChatStream()
        stream.server = server
        for piece in pieces:
            stream.feed(piece)
        with pytest.raises(MlxcelStreamError) as caught:
            stream.close(**why)
        assert ("Hi", why.get("log", "")) == (caught.value.partial, caught.value.stderr)
        return str(caught.value).split("\n")[0]

    hi = said("Hi")
    cut = f"before {who} had finished it. {PARTIAL}check the server's log, and send the request"
    assert f"The answer was cut short: the connection ended {cut} again." == told(hi)
    assert told(hi, reason="it fell", log="a log").startswith(
        f"The answer was cut short: it fell {cut} again."
    )
    assert f"{begins} gave up on the answer: no more. The text so far is in .partial." == told(
        hi, event({"error": {"message": "no more"}})
    )
    assert (
        f"{begins} gave up on the answer: the generation failed; the reason is in the server's "
        "log. The text so far is in .partial."
    ) == told(hi, event(chunk("error")))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            "[]",
            f"The server sent an event that is not a JSON object: '[]'. {PARTIAL}check any proxy "
            "between this program and the server.",
        ),
        (
            '{"choices": 1}',
            "The server sent an event of an unknown shape: '{\"choices\": 1}'. "
            + PARTIAL
            + ADDRESS,
        ),
        (
            "x" * 200,
            f"The server sent an event that is not a JSON object: '{'x' * 200}'. {PARTIAL}check "
            "any proxy between this program and the server.",
        ),
        (
            "x" * 201,
            f"The server sent an event that is not a JSON object: '{'x' * 200}…'. {PARTIAL}check "
            "any proxy between this program and the server.",
        ),
    ],
)
def test_events_that_are_none_are_told_in_full(data: str, message: str) -> None:
    stream = ChatStream()
    stream.feed(b"data: " + data.encode() + b"\n\n")

    assert stream.done
    with pytest.raises(MlxcelStreamError) as caught:
        stream.close()
    assert message == str(caught.value)


def test_the_model_that_answered_is_known_at_the_end() -> None:
    stream = ChatStream()

    assert (False, None, None, "") == (stream.done, stream.model, stream.server, stream.text)
    stream.feed(said("a") + said("b"))
    assert (False, None, "ab") == (stream.done, stream.model, stream.text)
    stream.feed(event(chunk("stop")))
    assert (False, "m", "ab") == (stream.done, stream.model, stream.text)
    stream.feed(DONE)
    assert stream.done


def test_a_server_that_gives_up_is_told_from_an_answer_that_cannot_be_read() -> None:
    for sent, expected in ((event({"error": {"message": "full"}}), True), (b"data: x\n\n", False)):
        stream = ChatStream()
        stream.feed(sent)

        assert expected is stream.gave_up


def test_a_beginning_of_a_stop_text_at_the_end_belongs_to_the_answer() -> None:
    (delta,) = ChatStream(["stop"]).feed(event(chunk("stop", content="Do not st")))

    assert "Do not st" == delta.text
