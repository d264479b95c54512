"""Answers that are arriving: how far they are read, and whether they are complete."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from mlxcel_integrations import MlxcelStreamError
from mlxcel_integrations.protocol.answers.chat_streams import ChatStream
from mlxcel_integrations.protocol.generation_request import Request
from mlxcel_integrations.transport.connection import Connection
from mlxcel_integrations.transport.steps import Incoming
from mlxcel_integrations.transport.streamed_answer import StreamedAnswer
from tests.transport.script import Script, connection, events, incoming

STREAM = "text/event-stream"
COMMENT = b": still reading\n\n"
ROLE = events(['{"choices": [{"delta": {"role": "assistant", "content": ""}}]}'])
TOKEN = events(['{"choices": [{"delta": {"content": "a"}}]}'])
FINISH = events(['{"choices": [{"delta": {}, "finish_reason": "stop"}]}'])
DONE = events(["[DONE]"])


def arriving(*pieces: bytes | Exception, kind: str = STREAM, **headers: str) -> StreamedAnswer:
    return answer_to(connection(), incoming(*pieces, content_type=kind, **headers))


def answer_to(one: Connection, response: Incoming) -> StreamedAnswer:
    request = Request("/v1/chat/completions", {"model": "m"}, ChatStream)
    return StreamedAnswer(one, request, response, 0.0, None)


@pytest.mark.parametrize(
    ("pieces", "read", "texts"),
    [
        ((TOKEN, TOKEN), 1, ["a"]),
        ((COMMENT, ROLE, TOKEN, TOKEN), 3, ["a"]),
        ((TOKEN + TOKEN, TOKEN), 1, ["a", "a"]),
        ((ROLE, DONE, TOKEN), 2, []),
        ((ROLE,), 2, []),
    ],
)
def test_it_is_read_until_its_first_token(
    pieces: tuple[bytes, ...], read: int, texts: list[str]
) -> None:
    answer, script = arriving(*pieces), Script()
    script.run(answer.begin())

    assert ["Next"] * read == script.done
    assert texts == [delta.text for delta in answer.first]


@pytest.mark.parametrize(
    ("pieces", "server", "steps"),
    [
        ([FINISH + DONE], "mlxcel", ["Next"]),  # what follows is read, to use the connection again
        ([FINISH + DONE], "llama.cpp", []),
        ([FINISH, None], "mlxcel", []),
    ],
)
def test_a_complete_answer_ends_quietly(
    pieces: list[bytes | None], server: str, steps: list[str]
) -> None:
    answer, script = arriving(server=server), Script()
    for piece in pieces:
        answer.feed(piece)
    script.run(answer.end())

    assert steps == script.done


def test_what_follows_the_end_may_fail() -> None:
    answer = arriving(httpx.ReadError("reset"))
    answer.feed(FINISH + DONE)

    Script().run(answer.end())


@pytest.mark.parametrize("pieces", [[], [TOKEN], [ROLE, TOKEN]])
def test_an_answer_without_its_end_is_cut(pieces: list[bytes]) -> None:
    answer = arriving()
    for piece in pieces:
        answer.feed(piece)

    with pytest.raises(MlxcelStreamError, match="cut short: the connection ended") as raised:
        Script().run(answer.end())
    assert "a" * (TOKEN in pieces) == raised.value.partial


@pytest.mark.parametrize(
    ("error", "message"),
    [(httpx.ReadError("reset"), "cut short: reset"), (TimeoutError(), "timeout=")],
)
def test_a_read_that_fails_tells_why_the_answer_is_cut(error: Exception, message: str) -> None:
    answer = arriving()
    answer.feed(TOKEN)

    with pytest.raises(MlxcelStreamError, match=message):
        Script().run(answer.fail(error))


def test_a_read_that_fails_after_the_finish_reason_is_no_error() -> None:
    answer = arriving()
    answer.feed(TOKEN + FINISH)

    Script().run(answer.fail(httpx.ReadError("reset")))


@pytest.mark.parametrize(
    ("error", "raised"),
    [(httpx.ReadError("reset"), MlxcelStreamError), (KeyboardInterrupt(), KeyboardInterrupt)],
    ids=["an error", "Ctrl-C"],
)
def test_a_first_read_that_fails_closes_the_response(
    error: BaseException, raised: type[BaseException]
) -> None:
    answer = arriving()
    steps: Any = answer.begin()
    next(steps)

    assert "Close" == type(steps.throw(error)).__name__
    assert not answer._connection.under_way
    with pytest.raises(raised):
        list(steps)


def test_a_first_read_that_is_left_is_no_more_under_way() -> None:
    answer = arriving()
    steps: Any = answer.begin()
    next(steps)

    steps.close()

    assert not answer._connection.under_way


@pytest.mark.parametrize("kind", ["application/json", "text/html", ""])
def test_another_kind_of_response_is_not_read_on(kind: str) -> None:
    answer = arriving(kind=kind)

    assert [] == answer.feed(b"<html>busy</html>")
    assert answer.done
    with pytest.raises(MlxcelStreamError, match="<html>busy"):
        Script().run(answer.end())


def test_only_the_first_tokens_of_an_answer_that_is_read_alone_are_timed() -> None:
    one = connection()
    first = answer_to(one, incoming(content_type=STREAM))
    assert [True] == [tokens.watched for tokens in one.under_way]

    second = answer_to(one, incoming(content_type=STREAM))
    assert {False} == {tokens.watched for tokens in one.under_way}

    first.leave()
    second.leave()
    assert not one.under_way
