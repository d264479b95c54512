"""Further attempts at structured answers, through both clients."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Field

from mlxcel_integrations import MlxcelError, StructuredOutputError
from tests.client.test_structured_endings import pieces
from tests.fakes.server import FakeServer, Reply

CITY_TEXT = '{"name": "Oslo", "people": 7}'
UNFIT = {
    "a misfit": (
        [Reply.text('{"name": "Oslo", "people": -7}')],
        'Your last answer ({"name": "Oslo", "people": -7}) was refused: it does not fit the schema '
        "at /people: Input should be greater than or equal to 0.",
    ),
    "cut": (
        [Reply.text('{"name": "Osl', finish="length")],
        "Be brief. Your last answer was refused: it was too long.",
    ),
    "no end": (
        [pieces('{"name": "', *["c01_"] * 3000)],
        "Be brief. Your last answer was refused: it was too long.",
    ),
    "ended early": (
        [Reply.text('{"name": "Osl')],
        "Be brief. Your last answer was refused: it was not complete.",
    ),
}


CITY = {
    "title": "City",
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
}


class Capital(BaseModel):
    name: str
    people: int = Field(ge=0)


@pytest.mark.parametrize("method", ["chat", "complete_chat", "chat_stream"])
@pytest.mark.parametrize(("replies", "correction"), UNFIT.values(), ids=list(UNFIT))
def test_an_answer_that_does_not_fit_is_asked_for_again_with_what_was_wrong(
    client: Any, server: FakeServer, method: str, replies: list[Reply], correction: str
) -> None:
    server.generation = "newest"
    server.script(*replies, Reply.text(CITY_TEXT))

    reply = getattr(client, method)("Which one?", schema=Capital, max_tokens=100)
    value = reply[-1] if isinstance(reply, list) else getattr(reply, "parsed", reply)

    assert Capital(name="Oslo", people=7) == value
    first, second = [post.json for post in server.posts]
    question = first["messages"][-1]["content"]
    assert f"{question}\n\n{correction}" == second["messages"][-1]["content"]
    assert {"correction", "tight", "max_attempts"}.isdisjoint(second)
    sent = [body["response_format"]["json_schema"]["schema"] for body in (first, second)]
    # Tighter bounds after an answer without an end.
    longest = [schema["properties"]["name"]["maxLength"] for schema in sent]
    assert ("Be brief" in correction) == (longest[1] < longest[0])


@pytest.mark.parametrize("method", ["chat", "complete_chat", "chat_stream"])
def test_there_are_as_many_attempts_as_wanted(client: Any, server: FakeServer, method: str) -> None:
    server.script(*[Reply.text('{"name": 1}')] * 6)

    for most, requests in ((1, 1), (2, 3), (3, 6)):
        with pytest.raises(StructuredOutputError, match="does not fit"):
            getattr(client, method)("Which one?", schema=CITY, max_attempts=most)
        assert requests == len(server.posts)
    with pytest.raises(MlxcelError, match="max_attempts=0 must be a whole number"):
        getattr(client, method)("Which one?", schema=CITY, max_attempts=0)


def test_the_token_counts_are_those_of_all_attempts(client: Any, server: FakeServer) -> None:
    server.generation = "newest"
    server.script(Reply.text('{"name": 1}'), *[Reply.text('{"name": "Oslo"}')] * 2)

    both, one = [client.complete_chat("Which one?", schema=CITY).usage for _ in range(2)]

    assert both["prompt_tokens"] > one["prompt_tokens"]
    assert both["completion_tokens"] > one["completion_tokens"]
    assert both["total_tokens"] == both["prompt_tokens"] + both["completion_tokens"]


def test_objects_begin_anew_with_another_attempt(client: Any, server: FakeServer) -> None:
    server.script(Reply.text('{"name": [7]}'), Reply.text('{"name": "Oslo"}'))

    values = client.chat_stream("Which one?", schema=CITY)

    assert {"name": [7]} in values
    assert {"name": "Oslo"} == values[-1]


def test_messages_that_come_once_are_sent_with_each_attempt(
    client: Any, server: FakeServer
) -> None:
    server.script(Reply.text('{"name": 1}'), Reply.text('{"name": "Oslo"}'))
    messages = iter([{"role": "user", "content": "Which one?"}])

    client.chat(messages, schema=CITY, show_schema=False)

    contents = [post.json["messages"][0]["content"] for post in server.posts]
    assert contents[1].startswith(f"{contents[0]}\n\nYour last answer")
