"""Thinking before an answer with a schema, with both server generations: one call of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from mlxcel_integrations import MlxcelError, MlxcelStreamError, StructuredOutputTruncated
from mlxcel_integrations.protocol.answers.reply import fold
from tests.fakes.answers import Generation, Json
from tests.fakes.server import FakeServer, Reply


class City(BaseModel):
    name: str
    people: int


ANSWER = City(name="x", people=1)
NOTES = {"type": "object", "properties": {"note": {"type": "string"}}}
TEMPLATE = "{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>"
ENDLESS = Reply.raw_text("<think>", *["hm "] * 300)
TOOL: Json = {
    "type": "function",
    "function": {"name": "f", "parameters": {"properties": {"a": {"type": "integer"}}}},
}


@pytest.fixture(params=["v0.4.2", "newest"])
def generation(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def place() -> str:
    return "tcp"


def bodies(server: FakeServer) -> list[Json]:
    return [seen.json for seen in server.posts]


def schemas(server: FakeServer) -> list[bool]:
    """Whether each request has a schema."""
    return ["response_format" in body for body in bodies(server)]


def thinking(body: Json) -> Any:
    return body["chat_template_kwargs"]["enable_thinking"]


WAYS_TO_ASK: dict[str, Json] = {
    "reasoning": {"reasoning": True},
    "effort": {"reasoning": "low"},
    "effort of OpenAI": {"reasoning_effort": "low"},
    "budget": {"thinking_budget_tokens": 50},
    "no limit": {"thinking_budget_tokens": -1},
    "variable": {"chat_template_kwargs": {"enable_thinking": True}},
    "extra_body": {"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}},
}


@pytest.mark.parametrize("fields", WAYS_TO_ASK.values(), ids=WAYS_TO_ASK)
def test_a_model_that_is_asked_to_thinks_before_its_answer(
    client: Any, server: FakeServer, fields: Json
) -> None:
    server.script(Reply.text("It is Oslo.", reasoning="Oslo has more people."))

    reply = client.complete_chat("Which one?", schema=City, **fields)

    assert (ANSWER, "Oslo has more people.") == (reply.parsed, reply.reasoning)
    assert "It is" not in reply.text
    assert [False, True] == schemas(server)
    first, second = bodies(server)
    question = first["messages"][0]["content"]
    assert second["messages"][0]["content"].startswith(f"{question}\n\n")
    assert "Oslo has more people." in second["messages"][0]["content"]
    assert not thinking(second)
    assert 4 == reply.usage["completion_tokens_details"]["reasoning_tokens"]
    assert reply.usage["completion_tokens"] > 4


NOT_ASKED: dict[str, Json] = {
    "nothing": {},
    "False": {"reasoning": False},
    "none": {"reasoning": "none"},
    "no effort": {"reasoning_effort": "none"},
    "budget of 0": {"thinking_budget_tokens": 0},
    "reasoning, but a budget of 0": {"reasoning": True, "thinking_budget_tokens": 0},
    "switched off": {
        "reasoning_effort": "low",
        "chat_template_kwargs": {"enable_thinking": False},
    },
}


@pytest.mark.parametrize("fields", NOT_ASKED.values(), ids=NOT_ASKED)
def test_otherwise_thinking_is_off_and_there_is_one_request(
    client: Any, server: FakeServer, fields: Json
) -> None:
    reply = client.complete_chat("Which one?", schema=City, **fields)

    assert (ANSWER, "") == (reply.parsed, reply.reasoning)
    (body,) = bodies(server)
    assert not thinking(body)
    assert "reasoning" not in body


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reasoning": 1}, "reasoning=1 must be True, False"),
        ({"reasoning": ["low"]}, "must be True, False"),
        ({"thinking_budget_tokens": -2}, "thinking_budget_tokens is -2"),
        ({"thinking_budget_tokens": 1.5}, "must be a whole number"),
        ({"reasoning": True, "max_tokens": -1}, "max_tokens is -1"),
    ],
)
def test_wrong_values_are_told_before_anything_is_sent(
    client: Any, server: FakeServer, fields: Json, message: str
) -> None:
    with pytest.raises(MlxcelError, match=message):
        client.chat("Which one?", schema=City, **fields)

    assert [] == server.posts


def test_a_continued_text_is_sent_what_its_reasoning_means(client: Any, server: FakeServer) -> None:
    client.generate("Which one?", reasoning=False)

    (body,) = bodies(server)
    assert {"enable_thinking": False} == body["chat_template_kwargs"]
    assert "reasoning" not in body


@pytest.mark.parametrize("name", ["max_tokens", "thinking_budget_tokens", "chat_template_kwargs"])
def test_wrong_values_in_extra_body_are_errors_of_the_server_or_ours(
    client: Any, server: FakeServer, name: str
) -> None:
    with pytest.raises((openai.APIStatusError, MlxcelError)):
        client.chat("Which one?", schema=City, reasoning=True, extra_body={name: "x"})


def test_one_token_has_no_room_for_thoughts(client: Any, server: FakeServer) -> None:
    with pytest.raises(StructuredOutputTruncated):
        client.chat("?", schema=NOTES, reasoning=True, max_tokens=1, max_attempts=1)

    (body,) = bodies(server)
    assert not thinking(body)


def thoughts_of(server: FakeServer, client: Any, reply: Reply) -> str:
    server.script(reply)
    answer = client.complete_chat("Which one?", schema=City, reasoning=True)
    assert ANSWER == answer.parsed
    return str(answer.reasoning)


@pytest.mark.parametrize(
    "thoughts",
    ['{"name": "Rome", "people": 3}', '{"name": "Rome"}\n\n\n\n\n\nNo.', "[1] first", "``` {", "0"],
)
def test_json_in_thoughts_is_no_answer(client: Any, server: FakeServer, thoughts: str) -> None:
    assert thoughts == thoughts_of(server, client, Reply.text("Oslo", reasoning=thoughts))


@pytest.mark.parametrize(
    "text", ['{"name": "Rome"}', "\n\n[1]", "3", '"a"', "true", "-1", "```json\n{}"]
)
def test_a_model_that_does_not_think_answers_at_once(
    client: Any, server: FakeServer, text: str
) -> None:
    assert "" == thoughts_of(server, client, Reply.text(text))
    assert [False, True] == schemas(server)
    assert "already thought" not in str(bodies(server)[1]["messages"])


def test_thoughts_that_come_as_text_are_thoughts_on_042(client: Any, server: FakeServer) -> None:
    # As in the recording "primed-streamed": its prompt ends in an open <think>.
    text = "\nIt asks for a city\n\n\nThe answer is {"
    expected = "It asks for a city\n\n\nThe answer is " if server.generation == "v0.4.2" else ""

    assert expected == thoughts_of(server, client, Reply.text(text))


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({"reasoning": True, "max_tokens": 100}, 50),
        ({"reasoning": True, "max_tokens": 10_000}, 149),
        ({"reasoning": True, "max_tokens": 100, "thinking_budget_tokens": -1}, 50),
        ({"thinking_budget_tokens": 10}, 10),
        ({"thinking_budget_tokens": 10, "max_tokens": 100}, 10),
        ({"thinking_budget_tokens": 90, "max_tokens": 100}, 50),
        ({"thinking_budget_tokens": 1000, "max_tokens": 100}, 50),
    ],
)
def test_a_model_that_never_stops_thinking_leaves_room_for_the_answer(
    client: Any, server: FakeServer, fields: Json, most: int
) -> None:
    server.context_size = 300
    server.script(ENDLESS)

    reply = client.complete_chat("Which one?", schema=City, **fields)

    assert ANSWER == reply.parsed
    first, second = bodies(server)
    assert first["max_tokens"] <= most
    assert first["max_tokens"] == reply.usage["completion_tokens_details"]["reasoning_tokens"]
    if "max_tokens" in fields:
        assert fields["max_tokens"] == first["max_tokens"] + second["max_tokens"]


def test_a_stream_is_of_growing_objects(client: Any, server: FakeServer) -> None:
    server.script(Reply.text("It is Oslo.", reasoning="Oslo has more."))

    objects = client.chat_stream("Which one?", schema=City, reasoning=True)

    assert ANSWER == objects[-1]
    assert {None, "x"} <= {city.name for city in objects}


@pytest.mark.parametrize("generation", ["newest"], indirect=True)
def test_the_counts_of_both_requests_add_up(client: Any, server: FakeServer) -> None:
    server.script(Reply.text("Oslo", reasoning="a b c"))

    usage = client.complete_chat("Which one?", schema=City, reasoning=True).usage

    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_newer_server_continues_from_the_thoughts(client: Any, server: FakeServer) -> None:
    server.chat_template = TEMPLATE
    server.script(Reply.text("Oslo", reasoning="\nHm, Oslo.\n"))

    reply = client.complete_chat("Which one?", schema=City, reasoning=True)

    assert (ANSWER, "\nHm, Oslo.\n") == (reply.parsed, reply.reasoning)
    first, second = bodies(server)
    if server.generation == "newest":
        begun = {"role": "assistant", "content": "", "reasoning_content": "Hm, Oslo."}
        assert [*first["messages"], begun] == second["messages"]
        assert thinking(second)
    else:
        assert "Hm, Oslo." in second["messages"][-1]["content"]


def test_a_server_that_refuses_to_continue_is_shown_the_thoughts(
    client: Any, server: FakeServer
) -> None:
    def refuse(body: Json) -> Reply | None:
        if body["messages"][-1]["role"] == "assistant":
            return Reply.error(400, "prefill is not supported", "invalid_request_error")
        if "response_format" not in body:
            return Reply.text("Oslo", reasoning="Hm, Oslo.")
        return None

    server.chat_template, server.think = TEMPLATE, refuse

    for _ in range(2):
        assert ANSWER == client.chat("Which one?", schema=City, reasoning=True)

    refused = [body for body in bodies(server) if body["messages"][-1]["role"] == "assistant"]
    assert (1 if server.generation == "newest" else 0) == len(refused)
    assert "Hm, Oslo." in bodies(server)[-1]["messages"][-1]["content"]


@pytest.mark.parametrize("generation", ["newest"], indirect=True)
def test_another_refusal_does_not_keep_the_server_from_continuing(
    client: Any, server: FakeServer
) -> None:
    server.chat_template = TEMPLATE
    refusal = Reply.error(400, "no", "invalid_request_error")
    server.script(Reply.text("Oslo", reasoning="Hm"), refusal, refusal)

    with pytest.raises(openai.BadRequestError):
        client.chat("Which one?", schema=City, reasoning=True)
    server.script(Reply.text("Oslo", reasoning="Hm"))
    client.chat("Which one?", schema=City, reasoning=True)

    assert "assistant" == bodies(server)[-1]["messages"][-1]["role"]


def test_a_begun_answer_stays_the_last_message(client: Any, server: FakeServer) -> None:
    server.chat_template = TEMPLATE
    server.script(Reply.text("Oslo", reasoning="Hm"))
    begun = {"role": "assistant", "content": "{"}

    client.chat([{"role": "user", "content": "Which?"}, begun], schema=City, reasoning=True)

    asked, last = bodies(server)[1]["messages"]
    assert begun == last
    assert "Hm" in asked["content"]


def test_a_response_format_is_a_schema_too(client: Any, server: FakeServer) -> None:
    server.script(Reply.text("Oslo", reasoning="Hm"))

    reply = client.complete_chat("Which one?", response_format=City, reasoning=True)

    assert ("Hm", ANSWER) == (reply.reasoning, City.model_validate_json(reply.text))


def test_an_answer_with_a_schema_and_tools_may_be_a_call_after_thoughts(
    client: Any, server: FakeServer
) -> None:
    call = '{"name": "f", "arguments": {"a": 1}}'
    server.script(Reply.text("I call f", reasoning="Hm"), Reply.text(call))

    reply = client.complete_chat("Do it", tools=[TOOL], response_format=City, reasoning=True)

    (made,) = reply.tool_calls
    assert ("Hm", "f") == (reply.reasoning, made["function"]["name"])
    assert all(body["tools"] == [TOOL] for body in bodies(server))


CALL = '{"name": "f", "arguments": {"a": 1}}'
NO_TOOLS = Reply.error(500, "this template does not support tools", "server_error")


def thinks_then_calls(body: Json) -> Reply:
    if "tools" in body:
        return NO_TOOLS
    if "response_format" in body:
        return Reply.text(CALL)
    return Reply.text("I call f", reasoning="Hm")


@pytest.mark.parametrize("known", [True, False], ids=["known", "refused"])
def test_a_model_whose_template_knows_no_tools_thinks_before_a_call(
    client: Any, server: FakeServer, known: bool
) -> None:
    server.think = thinks_then_calls
    if known:
        server.tool_call_parser = None
        props = {"build_info": "mlxcel-1", "chat_template_caps": {"supports_tools": False}}
        server.route("/props", Reply.json(props if server.generation == "newest" else {}))

    reply = client.complete_chat("Do it", tools=[TOOL], reasoning=True)

    (made,) = reply.tool_calls
    assert ("Hm", "f") == (reply.reasoning, made["function"]["name"])
    assert [False] * (not known) + [False, True] == schemas(server)


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        ('{"answer": "one two three"}', {"stop": "two"}),
        (f'{{"calls": [{CALL}, {CALL}, {CALL}]}}', {"parallel_tool_calls": True}),
    ],
    ids=["a stop text", "a call again"],
)
def test_the_tokens_of_thoughts_count_for_an_answer_of_prompted_tools_that_is_left(
    client: Any, server: FakeServer, answer: str, options: Json
) -> None:
    server.think = lambda body: (
        NO_TOOLS
        if "tools" in body
        else Reply.text(answer)
        if "response_format" in body
        else Reply.text("Well", reasoning="Hm hm hm")
    )

    used = client.complete_chat("Do it", tools=[TOOL], reasoning=True, **options).usage

    assert {"completion_tokens", "completion_tokens_details"} == used.keys()
    assert 3 == used["completion_tokens_details"]["reasoning_tokens"]
    assert used["completion_tokens"] > 3


def test_a_forced_call_comes_after_thoughts(client: Any, server: FakeServer) -> None:
    server.script(Reply.text("I call f", reasoning="Hm"), Reply.text(CALL))

    reply = client.complete_chat("Do it", tools=[TOOL], tool_choice="f", reasoning=True)

    (made,) = reply.tool_calls
    assert ("Hm", "f") == (reply.reasoning, made["function"]["name"])


def test_probabilities_are_for_the_answer_and_no_stop_text_is_sent(
    client: Any, server: FakeServer
) -> None:
    server.script(Reply.text("Oslo", reasoning="Hm"))

    client.chat(
        "Which?", schema=City, reasoning=True, stop=["x"], logprobs=True, seed=3, temperature=0
    )

    first, second = bodies(server)
    assert {"stop", "logprobs"}.isdisjoint(first)
    assert "logprobs" in second
    # It would end the JSON within a string that contains it.
    assert "stop" not in second
    assert (3, 0) == (first["seed"], first["temperature"])


def test_a_failure_while_thinking_is_an_error(client: Any, server: FakeServer) -> None:
    server.script(Reply.text("", reasoning="Hm", finish="error"))

    with pytest.raises(MlxcelStreamError, match="gave up"):
        client.chat("Which one?", schema=City, reasoning=True)

    assert 1 == len(server.posts)


def test_a_refusal_after_the_thoughts_is_an_error(client: Any, server: FakeServer) -> None:
    refusal = Reply.error(400, "no", "invalid_request_error")
    server.script(Reply.text("Oslo", reasoning="Hm"), refusal)

    with pytest.raises(openai.BadRequestError):
        client.chat("Which one?", schema=City, reasoning=True)


def test_an_answer_that_is_cut_after_the_thoughts_is_an_error(
    client: Any, server: FakeServer
) -> None:
    cut = Reply.text('{"name": "O', finish="length")
    server.script(Reply.text("Oslo", reasoning="Hm"), cut)

    with pytest.raises(StructuredOutputTruncated):
        client.chat("Which one?", schema=City, reasoning=True, max_attempts=1)


def test_both_requests_share_the_total_time(
    connect: Callable[..., Any], server: FakeServer
) -> None:
    server.script(Reply.text("Oslo", reasoning="Hm"), Reply(action="hang"))

    with pytest.raises(openai.APITimeoutError, match="total_timeout"):
        connect(total_timeout=0.2).chat("Which one?", schema=City, reasoning=True)


def test_one_slot_is_enough(generation: Generation, connect: Callable[..., Any]) -> None:
    with FakeServer(generation, slots=1) as server:
        long = Reply.text("It is Oslo. " * 50, reasoning="Hm", delay=0.002)
        server.think = lambda body: None if "response_format" in body else long
        client = connect(base_url=server.url)

        answers = [client.chat("Which?", schema=City, reasoning=True) for _ in range(2)]

    assert [ANSWER] * 2 == answers


def test_without_a_schema_nothing_changes(client: Any, server: FakeServer) -> None:
    server.script(Reply.text("Oslo", reasoning="Hm"))

    reply = client.complete_chat("Which one?", reasoning=True)

    assert ("Oslo", "Hm") == (reply.text, reply.reasoning)
    (body,) = bodies(server)
    assert thinking(body)


def test_the_deltas_of_both_requests_are_those_of_one_answer(server: FakeServer) -> None:
    from mlxcel_integrations import LLM
    from mlxcel_integrations.operations import prepare_chat
    from mlxcel_integrations.structured.request import structured_chat

    server.script(Reply.text("It is Oslo.", reasoning="Oslo has more."))
    with LLM(base_url=server.url) as llm:
        chat = structured_chat("Which one?", {"reasoning": True}, City, show_schema=True)
        flow = prepare_chat(llm._connection, chat.messages, chat.sampling)
        deltas = list(llm._driver.stream(flow))

    begins = next(index for index, delta in enumerate(deltas) if delta.text)
    assert all(delta.reasoning for delta in deltas[:begins])
    assert not any(delta.reasoning for delta in deltas[begins:])
    assert 1 == sum(delta.finish_reason is not None for delta in deltas)
    assert "Oslo has more." == fold(deltas).reasoning


def test_a_further_attempt_thinks_again_and_all_tokens_are_counted(
    client: Any, server: FakeServer
) -> None:
    bad, good = Reply.text('{"name": 1}'), Reply.text('{"name": "x", "people": 1}')
    thought = Reply.text("Oslo", reasoning="a b")
    server.script(thought, bad, thought, good)

    reply = client.complete_chat("Which one?", schema=City, reasoning=True)

    assert (ANSWER, "a b") == (reply.parsed, reply.reasoning)
    assert [False, True] * 2 == schemas(server)
    assert 4 == reply.usage["completion_tokens_details"]["reasoning_tokens"]
