"""Stop texts: an answer ends before them, also on mlxcel up to v0.4.2, which ignores ``stop``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from mlxcel_integrations import MlxcelStreamError
from mlxcel_integrations.protocol.answers.stop import StopFilter
from tests.client.test_freeing import freed
from tests.fakes.answers import Generation
from tests.fakes.server import FakeServer, Reply

ON_TCP = pytest.mark.parametrize("place", ["tcp"], indirect=True)
TEXT = "one two three four five"
FAMILY = "👨\u200d👩\u200d👧"
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.fixture
def generation() -> Generation:
    return "v0.4.2"


def tokens(*texts: str, **how: Any) -> Reply:
    """An answer of these tokens, by a server that does not stop by itself."""
    return Reply.raw_text(*texts, **how)


@pytest.mark.parametrize(
    ("said", "stop", "expected"),
    [
        (TEXT, [" three"], "one two"),
        (TEXT, " three", "one two"),
        (TEXT, [" five", "four", " th"], "one two"),
        (TEXT, [TEXT], ""),
        (TEXT, ["six"], TEXT),
        (TEXT, [""], TEXT),
        (TEXT, [], TEXT),
        (TEXT, [f"stop {n}" for n in range(99)] + ["three"], "one two "),
        (f"a {FAMILY} b", ["👩"], "a 👨\u200d"),
        (f"a {FAMILY} b", [FAMILY], "a "),
        ("a 👩 b", ["\u200d"], "a 👩 b"),
    ],
)
@ON_TCP
def test_an_answer_ends_before_the_first_stop_text(
    client: Any, server: FakeServer, said: str, stop: Any, expected: str
) -> None:
    server.script(*[tokens(*said)] * 4)  # a token for each character

    assert expected == client.chat("hi", stop=stop)
    assert expected == "".join(client.chat_stream("hi", stop=stop))
    assert expected == client.generate("hi", stop=stop)
    assert expected == "".join(client.stream("hi", stop=stop))


def test_a_stop_text_of_ten_chunks_is_found(client: Any, server: FakeServer) -> None:
    server.script(tokens("x ", *"Observati", "on: y", " z"))

    assert "x " == client.chat("hi", stop=["Observation:"])


def test_what_only_begins_as_a_stop_text_is_passed_on(client: Any, server: FakeServer) -> None:
    server.script(tokens("x\n", "Ob", "serv", "ed", "\nObs"))

    pieces = client.chat_stream("hi", stop=["\nObservation:"])

    assert ["x", "\nObserved", "\nObs"] == pieces


def test_the_end_is_told_as_one_that_a_server_made(client: Any, server: FakeServer) -> None:
    """All that is known of the usage are the tokens that have come."""
    server.script(tokens("one", " two", " three", " four"))

    reply = client.complete_chat("hi", stop=["three"])

    assert ("one two ", "stop", "fake-model") == (reply.text, reply.finish_reason, reply.model)
    assert ({"completion_tokens": 3}, None) == (reply.usage, reply.timings)


def test_the_server_that_goes_on_is_left(client: Any, server: FakeServer) -> None:
    server.script(tokens("one", " two", *[" three"] * 500, delay=0.01))

    began = time.monotonic()
    assert "one " == client.chat("hi", stop=["two"])

    assert time.monotonic() - began < 2
    assert freed(server)
    assert server.frames_sent < 50


def test_a_stop_text_does_not_cut_the_calls_of_tools(client: Any, server: FakeServer) -> None:
    call = {"name": "weather", "arguments": {"town": "a stop b"}}
    server.script(Reply.text("I ask.", tool_calls=[call]))

    reply = client.complete_chat("hi", tools=[TOOL], stop=["stop"])

    assert ("I ask.", "tool_calls") == (reply.text, reply.finish_reason)
    assert "a stop b" in reply.tool_calls[0]["function"]["arguments"]


@ON_TCP
def test_a_stop_text_does_not_cut_a_forced_call(client: Any, server: FakeServer) -> None:
    town = {"type": "object", "properties": {"town": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "weather", "parameters": town}}
    call = '{"name": "weather", "arguments": {"town": "a stop b"}}'
    server.script(Reply.text(call, finish="error"))

    reply = client.complete_chat("hi", tools=[tool], tool_choice="weather", stop=["stop"])

    assert ("", "tool_calls") == (reply.text, reply.finish_reason)
    assert {"town": "a stop b"} == json.loads(reply.tool_calls[0]["function"]["arguments"])


def test_a_stop_text_does_not_cut_json(client: Any, server: FakeServer) -> None:
    server.script(*[Reply.text('{"town": "a stop b"}')] * 2)
    schema = {
        "type": "object",
        "properties": {"town": {"type": "string"}},
        "additionalProperties": False,
    }
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    assert {"town": "a stop b"} == client.chat("hi", schema=schema, stop=["stop"])
    assert '{"town": "a stop b"}' == client.generate("hi", response_format=format_, stop=["stop"])


def test_thoughts_are_not_looked_at(client: Any, server: FakeServer) -> None:
    server.script(Reply.text("so it is", reasoning="stop or not"))

    reply = client.complete_chat("hi", stop=["stop"])

    assert ("so it is", "stop or not") == (reply.text, reply.reasoning)


def test_text_that_was_held_back_is_not_lost_with_the_answer(
    client: Any, server: FakeServer
) -> None:
    server.script(tokens("one", "\nObs", finish="error"))

    with pytest.raises(MlxcelStreamError) as caught:
        client.chat("hi", stop=["\nObservation:"])
    assert "one\nObs" == caught.value.partial


@pytest.mark.parametrize("generation", ["newest"])
def test_a_server_that_stops_by_itself_is_read_to_its_end(client: Any, server: FakeServer) -> None:
    """With the usage, and the connection is used again."""
    for _ in range(3):
        reply = client.complete_chat("one two", stop=[" two"])

        assert ("echo: one", "stop") == (reply.text, reply.finish_reason)
        assert {"prompt_tokens", "completion_tokens", "total_tokens"} <= reply.usage.keys()
    assert 1 == server.connections


@ON_TCP
@pytest.mark.parametrize("stop", [None, ["never"]])
def test_without_a_stop_text_the_usage_is_the_server_s(
    client: Any, server: FakeServer, stop: Any
) -> None:
    for _ in range(3):
        reply = client.complete_chat("hi", stop=stop)

        assert reply.usage["prompt_tokens"] > 0
    assert 1 == server.connections


@pytest.mark.parametrize(
    ("stops", "pieces"),
    [
        (["\nObservation:", "\nHuman:"], [f" word{n}" for n in range(1000)]),
        (["so it goes"], [" so", " it", " was", " so"] * 250),
        ([f" stop {n}" for n in range(100)], [" st", "and", " stop", " and"] * 250),
        (["0123456789" * 4], ["0123", "4567", "8901", "2345", "6789", "0123", "4x"] * 140),
        ([" the" * 30 + str(number) for number in range(100)], [" the"] * 1000),
        (["-" * 80], ["-----", "--x"] * 500),
    ],
    ids=["prose", "beginnings", "100 stop texts", "a long beginning", "in every piece", "lines"],
)
def test_a_piece_costs_less_than_a_microsecond(stops: list[str], pieces: list[str]) -> None:
    """Parsing an event takes about as much, and is measured beside: the machine may be busy."""

    def best(work: Callable[[str], object]) -> float:
        times = []
        for _ in range(15):
            began = time.perf_counter()
            for piece in pieces:
                work(piece)
            times.append(time.perf_counter() - began)
        return min(times) / len(pieces)

    event = '{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":" word"}}]}'
    parsing = best(lambda piece: json.loads(event))
    ours = best(StopFilter(stops).feed)

    print(f"{ours * 1e6:.2f} us a piece; parsing its event takes {parsing * 1e6:.2f} us")
    assert ours < max(1e-6, 1.5 * parsing)
