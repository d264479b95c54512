"""Which messages fit into the context, and which requests must be counted first."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.features import ServerFeatures, TrainedContext
from mlxcel_integrations.protocol.flow import Call
from mlxcel_integrations.protocol.tokens.context_window import (
    Room,
    fit_chat,
    room_for_prompt,
    room_to_check,
)
from mlxcel_integrations.protocol.tokens.tokenize import TokenMemory
from mlxcel_integrations.transport.token_cache import TokenCache
from tests.protocol.flows import drive


def features(engine: str | None = "mlxcel", context: int | None = 4096) -> ServerFeatures:
    return ServerFeatures(engine, None, (), 1, context, None, frozenset())


def conversation(*roles: str, size: int = 10) -> list[dict[str, Any]]:
    """Messages of as many characters as tokens; ``saut`` stand for the four roles."""
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [{"role": names[role], "content": "x" * size} for role in roles]


class Counting:
    """One token for each character of content; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, ask: Call) -> Any:
        self.asked += 1
        assert ask.body is not None
        return {"input_tokens": sum(len(message["content"]) for message in ask.body["messages"])}


def fit(messages: list[dict[str, Any]], limit: int, server: Counting | None = None) -> Any:
    body = {"model": "m", "messages": messages}
    flow = fit_chat(body, body["messages"], limit, TokenMemory(TokenCache()))
    return drive(flow, server or Counting())


@pytest.mark.parametrize(
    ("roles", "limit", "expected"),
    [
        ("uau", 30, [0, 1, 2]),
        ("uau", 29, [2]),
        ("suauau", 60, [0, 1, 2, 3, 4, 5]),
        ("suauau", 59, [0, 3, 4, 5]),
        ("suauau", 40, [0, 3, 4, 5]),
        ("suauau", 39, [0, 5]),
        ("uauauauau", 39, [6, 7, 8]),
        ("ssuau", 49, [0, 1, 4]),
        # A greeting goes before the first question does.
        ("auau", 39, [1, 2, 3]),
        # Results stay with their calls, and old rounds go one by one.
        ("suatau", 59, [0, 5]),
        ("suatatat", 80, [0, 1, 2, 3, 4, 5, 6, 7]),
        ("suatatat", 79, [0, 1, 4, 5, 6, 7]),
        ("suatatat", 59, [0, 1, 6, 7]),
        ("uauatat", 69, [2, 3, 4, 5, 6]),
        ("uauatat", 49, [2, 5, 6]),
        ("uatat", 49, [0, 3, 4]),
    ],
)
def test_the_oldest_go_first(roles: str, limit: int, expected: list[int]) -> None:
    kept, tokens = fit(conversation(*roles), limit)

    assert (expected, 10 * len(expected)) == (kept, tokens)


@pytest.mark.parametrize(
    ("roles", "kept"), [("u", [0]), ("suau", [0, 3]), ("suatat", [0, 1, 4, 5]), ("s", [0])]
)
def test_what_cannot_be_shortened_any_more_is_returned_with_its_tokens(
    roles: str, kept: list[int]
) -> None:
    assert (kept, 10 * len(kept)) == fit(conversation(*roles), 5)


@given(st.lists(st.sampled_from("suat"), min_size=1, max_size=30), st.integers(1, 300))
def test_as_much_as_fits_is_kept(roles: list[str], limit: int) -> None:
    messages = conversation("u", *roles)

    kept, tokens = fit(messages, limit)

    assert kept == sorted(kept)
    assert tokens == sum(len(messages[index]["content"]) for index in kept)
    starts = [0, *(at for at, message in enumerate(messages) if message["role"] == "user")]
    assert all(
        len(kept) >= len(messages) - at for at in starts if 10 * (len(messages) - at) <= limit
    )


def test_a_long_conversation_takes_few_counts() -> None:
    server = Counting()

    fit(conversation(*"ua" * 500, "u"), 600, server)

    assert server.asked <= 12


@pytest.mark.parametrize(
    ("server", "check", "size", "limit"),
    [
        (features("mlxcel"), None, 5000, 4095),
        (features("mlxcel"), None, 3000, None),
        (features("mlxcel"), True, 5000, 4095),
        (features("llama.cpp"), None, 5000, None),
        (features("llama.cpp"), True, 5000, 4095),
        (features(None), None, 5000, None),
        (features("mlxcel", None), True, 5000, None),
    ],
)
def test_what_is_counted_before_it_is_sent(
    server: ServerFeatures, check: bool | None, size: int, limit: int | None
) -> None:
    room = room_to_check(server, check, {"messages": conversation("u", size=size)})

    assert limit == (room and room.limit)


def test_room_knows_the_file_that_tells_it() -> None:
    server = features(context=None).with_context(TrainedContext(100, "/m/config.json"))
    rooms = (
        room_to_check(server, None, {"messages": conversation("u", size=5000)}),
        room_for_prompt(server, 1, {}),
    )

    assert (Room(100, 1, "/m/config.json"),) * 2 == rooms


@pytest.mark.parametrize(("spare", "counted"), [(1, False), (0, True)])
def test_what_may_fill_the_whole_context_is_counted(spare: int, counted: bool) -> None:
    """Each character may be a token, and one more is needed for the answer."""
    for name, made in (
        ("messages", lambda size: conversation("u", size=size)),
        ("tools", lambda size: [{"description": "x" * size}]),
        ("prompt", lambda size: "x" * size),
    ):
        around = len(json.dumps([made(0)]))
        body = {name: made(4096 - around - spare)}

        assert counted == (room_to_check(features(), None, body) is not None)


@pytest.mark.parametrize(
    ("reserve", "body", "limit"),
    [
        (None, {}, 3072),
        (None, {"max_tokens": 96}, 4000),
        (0, {"max_tokens": 96}, 4096),
        (1, {}, 4095),
    ],
)
def test_what_is_left_for_the_prompt(reserve: int | None, body: dict[str, Any], limit: int) -> None:
    assert limit == room_for_prompt(features(), reserve, body).limit


def test_a_quarter_of_the_context_is_a_whole_number_of_tokens() -> None:
    assert 3074 == room_for_prompt(features(context=4098), None, {}).limit


@pytest.mark.parametrize("reserve", [4096, 5000])
def test_a_context_that_would_have_nothing_left_is_told(reserve: int) -> None:
    with pytest.raises(MlxcelError, match=rf"reserve={reserve}.*4096.* a smaller max_tokens\.$"):
        room_for_prompt(features(), reserve, {})


@pytest.mark.parametrize("reserve", [-1, 0.5])
def test_a_reserve_that_is_no_number_of_tokens_is_told(reserve: Any) -> None:
    with pytest.raises(MlxcelError, match=rf"^reserve={reserve} must be "):
        room_for_prompt(features(), reserve, {})


def test_an_unknown_context_is_told() -> None:
    with pytest.raises(MlxcelError, match=r"^The server .* start it with ctx_size\.$"):
        room_for_prompt(features(context=None), None, {})
