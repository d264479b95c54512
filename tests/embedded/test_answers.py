"""What the engine answers over HTTP with the built-in model."""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlxcel_integrations.cli.ask.prompt import INSTRUCTION

from .engine import serving

pytestmark = pytest.mark.engine

Message = dict[str, Any]


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with (
        tempfile.TemporaryDirectory(prefix="e", dir="/tmp") as directory,
        serving(Path(directory) / "x.sock", "-m", "embedded") as client,
    ):
        yield client


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def user(content: str | list[Message]) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def function(name: str, **arguments: str) -> Message:
    schema = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in arguments.items()},
        "required": list(arguments),
    }
    return {"type": "function", "function": {"name": name, "parameters": schema}}


WEATHER = function("get_weather", city="string", days="integer")
TIME = function("get_time")


def chat(http: httpx.Client, *messages: Message, **fields: Any) -> dict[str, Any]:
    body = {"messages": messages, "max_tokens": 64, **fields}
    reply = http.post("/v1/chat/completions", json=body)
    assert 200 == reply.status_code, reply.text
    choice: dict[str, Any] = reply.json()["choices"][0]
    return choice


def text(choice: dict[str, Any]) -> str:
    return str(choice["message"]["content"]).strip()


def calls(choice: dict[str, Any]) -> list[tuple[str, Any]]:
    functions = [call["function"] for call in choice["message"].get("tool_calls", [])]
    return [(each["name"], json.loads(each["arguments"])) for each in functions]


def test_it_says_what_it_serves(http: httpx.Client) -> None:
    models = http.get("/v1/models").json()["data"]
    slots = http.get("/slots").json()

    assert ["embedded"] == [model["id"] for model in models]
    assert [4096, 4096] == [slot["n_ctx"] for slot in slots]


CONTEXTS = [
    ("The library opens at 9 in the morning.", "When does the library open?", "9"),
    ("Maria works as a nurse in Lisbon.", "What is Maria's job?", "nurse"),
    ("The server listens on port 8080.", "Which port does the server listen on?", "8080"),
    ("The cat slept on the red sofa.", "Where did the cat sleep?", "sofa"),
]


@pytest.mark.parametrize(("context", "question", "answer"), CONTEXTS)
def test_it_answers_from_a_given_text(
    http: httpx.Client, context: str, question: str, answer: str
) -> None:
    instruction = system(f"Answer the question using the context.\n\nContext:\n{context}")

    choice = chat(http, instruction, user(question))

    assert answer in text(choice).lower()
    assert "stop" == choice["finish_reason"]


@pytest.mark.parametrize(
    ("passage", "question", "answer"),
    [
        ("# Bridge\nThe bridge is 210 metres long.", "How long is the bridge?", "210 metres"),
        ("# Tool\nMAX_RETRIES = 17\nPORT = 9911", "What is the value of MAX_RETRIES?", "17"),
    ],
)
def test_an_answer_ends_before_a_heading(
    http: httpx.Client, passage: str, question: str, answer: str
) -> None:
    choice = chat(http, system(f"{INSTRUCTION}\n\n{passage}"), user(question))

    assert answer in text(choice)
    assert "#" not in text(choice)


def test_it_remembers_the_conversation(http: httpx.Client) -> None:
    history = [user("My name is Bob."), assistant("Nice to meet you.")]

    assert "Bob" in text(chat(http, *history, user("What is my name?")))


def test_instructions_and_questions_may_come_in_any_number_and_in_parts(
    http: httpx.Client,
) -> None:
    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": "the capital?"}]
    messages = [system("Be brief."), system("Be kind."), user("Think of France."), user(parts)]

    prompt = http.post("/apply-template", json={"messages": messages}).json()["prompt"]

    instructions, _, questions = prompt.partition("Question:")
    assert "Be brief.\n\nBe kind.\n\n" == instructions
    assert " Think of France.\nQuestion: What is\nthe capital?\nAnswer:" == questions


@pytest.mark.parametrize(
    ("asked", "prompt"),
    [
        ("How tall is it?", "Question: How tall is it?\nAnswer:"),
        ("It is red.\n\nWhat is it?", "It is red.\n\nQuestion: What is it?\nAnswer:"),
        (
            "It is red.\n---\nQuery: What is it?\nAnswer: ",
            "It is red.\n---\nQuery: What is it?\nAnswer:",
        ),
    ],
)
def test_the_prompt_ends_with_the_question_however_it_is_asked(
    http: httpx.Client, asked: str, prompt: str
) -> None:
    rendered = http.post("/apply-template", json={"messages": [user(asked)]}).json()["prompt"]

    assert prompt == rendered


def test_an_answer_ends_before_the_next_turn_of_the_transcript(http: httpx.Client) -> None:
    body = {"messages": [user("What is the capital of France?")], "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as reply:
        events = [json.loads(line[6:]) for line in reply.iter_lines() if line.startswith("data: {")]
    deltas = [event["choices"][0]["delta"].get("content") for event in events]

    assert "Paris." == "".join(delta or "" for delta in deltas).strip()


@pytest.mark.parametrize("choice", ["required", "auto"])
@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (
            "What is the weather in Paris for 3 days?",
            ("get_weather", {"city": "Paris", "days": 3}),
        ),
        ("What time is it?", ("get_time", {})),
    ],
)
def test_it_calls_tools(http: httpx.Client, choice: str, question: str, expected: Any) -> None:
    answer = chat(http, user(question), tools=[WEATHER, TIME], tool_choice=choice)

    assert [expected] == calls(answer)
    assert "tool_calls" == answer["finish_reason"]


def conversation_with_a_call(result: str) -> list[Message]:
    call = {"id": "1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
    return [
        user("What time is it?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": result},
    ]


def test_it_answers_from_the_result_of_a_tool(http: httpx.Client) -> None:
    answer = chat(http, *conversation_with_a_call("12:30"), tools=[TIME])

    assert "12:30" in text(answer)
    assert [] == calls(answer)


def test_calls_and_results_of_earlier_turns_are_shown(http: httpx.Client) -> None:
    history = [*conversation_with_a_call("12:30"), assistant("Half past 12."), user("Thanks.")]

    prompt = http.post("/apply-template", json={"messages": history, "tools": [TIME]}).json()

    assert prompt["prompt"].endswith(
        "Question: What time is it?\nAnswer:\n<tool_call>\n"
        '{"name": "get_time", "arguments": {}}\n</tool_call>\n\n'
        "<tool_response>\n12:30\n</tool_response>\n\n"
        "Answer: Half past 12.\n\nQuestion: Thanks.\nAnswer:"
    )


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "maximum": 120}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def test_chat_keeps_to_a_schema(http: httpx.Client) -> None:
    response_format = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}

    answer = chat(http, user("Tom is 5 years old. Who?"), response_format=response_format)

    assert {"name": "Tom", "age": 5} == json.loads(text(answer))


def test_text_that_looks_like_the_next_turn_does_not_cut_json(http: httpx.Client) -> None:
    spread = {"type": "object", "properties": {"text": {"const": "a\n\nb\nQuestion: c"}}}
    schema = {**spread, "required": ["text"], "additionalProperties": False}
    response_format = {"type": "json_schema", "json_schema": {"name": "text", "schema": schema}}

    answer = chat(http, user("Say it."), response_format=response_format, max_tokens=256)

    assert {"text": "a\n\nb\nQuestion: c"} == json.loads(text(answer))


def test_completions_keep_to_a_schema_with_an_empty_line_in_it(http: httpx.Client) -> None:
    """The model likes to begin an object with one, which must not count as the end."""
    body = {"prompt": "Tom is 5 years old.\n", "max_tokens": 128, "json_schema": PERSON}

    completion = http.post("/v1/completions", json=body).json()["choices"][0]

    assert {"name", "age"} == set(json.loads(completion["text"]))


def test_closing_a_stream_frees_the_slot(http: httpx.Client) -> None:
    body = {"prompt": "1 2 3", "max_tokens": 1000, "stream": True, "ignore_eos": True}
    with http.stream("POST", "/v1/completions", json=body) as reply:
        next(reply.iter_lines())
    deadline = time.monotonic() + 1

    while any(slot["is_processing"] for slot in http.get("/slots").json()):
        assert time.monotonic() < deadline, "the slot is still busy"


def test_a_prompt_longer_than_a_slot_is_refused(http: httpx.Client) -> None:
    reply = http.post("/v1/completions", json={"prompt": "word " * 5000})

    assert (400, 4096) == (reply.status_code, reply.json()["error"]["n_ctx"])


def test_a_long_prompt_is_reported_while_it_is_read(http: httpx.Client) -> None:
    text = " ".join(f"Line {line} of the log says nothing new." for line in range(60))
    body = {
        "messages": [user(text)],
        "max_tokens": 1,
        "stream": True,
        "return_progress": True,
        "cache_prompt": False,
    }
    with http.stream("POST", "/v1/chat/completions", json=body) as reply:
        events = [json.loads(line[6:]) for line in reply.iter_lines() if line.startswith("data: {")]

    told = [event["prompt_progress"] for event in events if "prompt_progress" in event]
    numbers = [progress["processed"] for progress in told]
    total = told[0]["total"]
    assert total > 512
    assert (0, total) == (numbers[0], numbers[-1])
    assert all(0 < after - before <= 256 for before, after in itertools.pairwise(numbers))


QUOTED = "The old lighthouse on the northern cape was built of grey stone in 1871."


def test_a_quote_whose_tokens_are_guessed_ahead_is_the_same(
    http: httpx.Client,
) -> None:
    body = {"prompt": f"A: {QUOTED}\nB: {QUOTED}\nA: The old lighthouse on", "max_tokens": 32}
    with (
        tempfile.TemporaryDirectory(prefix="e", dir="/tmp") as directory,
        serving(
            Path(directory) / "x.sock", "-m", "embedded", "--spec-type", "ngram-simple"
        ) as ahead,
    ):
        plain, guessed = (one.post("/v1/completions", json=body).json() for one in (http, ahead))

    assert plain["choices"][0]["text"] == guessed["choices"][0]["text"]
    assert plain["choices"][0]["text"].startswith(" the northern cape was built of grey stone")
    assert "draft_n" not in plain["timings"]
    assert guessed["timings"]["draft_n_accepted"] > 0
