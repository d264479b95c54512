"""What servers make difficult, asked for through ``LLM``: it is the same on all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from mlxcel_integrations import LLM, MlxcelError, MlxcelStreamError

from .servers import CHAT, COMPLETIONS, KEY, N_PREDICT, Server

QUIET = {"chat_template_kwargs": {"enable_thinking": False}, "temperature": 0}
COUNTING = "Count: 1, 2, 3, 4, 5, 6, 7, 8,"


@pytest.fixture
def llm(server: Server) -> Iterator[LLM]:
    with LLM(base_url=server.url, api_key=KEY) as llm:
        yield llm


@pytest.fixture
def script(scripted: Server) -> Iterator[LLM]:
    """Asks the scripted server."""
    with LLM(base_url=scripted.url, api_key=KEY) as llm:
        yield llm


@pytest.mark.parametrize(
    "fields",
    [
        {"stop": "\x00"},
        {"seed": -1},
        {"max_completion_tokens": 1},
        {"n_predict": 1},
        {"n": 1},
        {"repeat_penalty": 1.1, "repeat_last_n": 64},
        {"repetition_penalty": 1.1, "repetition_context_size": 64},
    ],
    ids=repr,
)
def test_fields_that_some_server_refuses_are_sent_so_that_each_takes_them(
    llm: LLM, fields: dict[str, Any]
) -> None:
    """They are sent under a name and in a form that each one takes."""
    one = {} if "n_predict" in fields or "max_completion_tokens" in fields else {"max_tokens": 1}

    assert 1 == llm.complete_chat(COUNTING, **fields, **one).usage["completion_tokens"]


def test_a_limit_holds_under_all_its_names(llm: LLM) -> None:
    """Also where the server knows only one of them."""
    names = ("max_tokens", "max_completion_tokens", "n_predict")

    made = [llm.complete_chat(COUNTING, **{name: 2}).usage["completion_tokens"] for name in names]

    assert [2, 2, 2] == made


def test_a_developer_is_the_system(llm: LLM) -> None:
    """A role that mlxcel refuses, and templates of llama.cpp drop."""
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    same = [{"role": "system", "content": "Be brief."}, messages[1]]

    used = [llm.complete_chat(asked, max_tokens=1).usage["prompt_tokens"]
            for asked in (messages, same)]  # fmt: skip

    assert used[0] == used[1]


def test_a_schema_holds_in_completions(llm: LLM) -> None:
    """The name of the field is the server's."""
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"enum": [7]}}}

    assert "7" == llm.generate("Seven is", response_format=wanted, max_tokens=1)


def test_a_forced_call_is_a_call(llm: LLM) -> None:
    """Also of v0.4.2, which leaves it to the model."""
    parameters = {"type": "object", "properties": {"n": {"enum": [7]}}, "required": ["n"],
                  "additionalProperties": False}  # fmt: skip
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}

    reply = llm.complete_chat("Call f with 7.", tools=[tool], tool_choice="required",
                              max_tokens=48, **QUIET)  # fmt: skip

    (call,) = reply.tool_calls
    assert ("f", '{"n":7}') == (
        call["function"]["name"],
        call["function"]["arguments"].replace(" ", "").replace("\n", ""),
    )
    assert "tool_calls" == reply.finish_reason


def test_messages_are_counted_as_they_are_used(llm: LLM) -> None:
    """In the best way that the server has."""
    messages = [{"role": "user", "content": "How are you?"}]

    used = llm.complete_chat(messages, max_tokens=1).usage["prompt_tokens"]

    assert used == llm.count_message_tokens(messages)


def test_many_texts_are_counted_as_one_by_one(llm: LLM) -> None:
    """Whether the server takes a list or not."""
    texts = ["one two", "", "drei <bos>", "四"]

    assert [len(llm.tokenize(text)) for text in texts if "<" not in text] == [
        count for text, count in zip(texts, llm.count_tokens(texts), strict=True) if "<" not in text
    ]


def test_usage_is_always_there(llm: LLM, server: Server) -> None:
    """Every answer is streamed, and asks for it."""
    assert 1 == llm.complete_chat("Hi", max_tokens=1).usage["completion_tokens"]
    assert llm.complete_chat(COUNTING).usage["completion_tokens"] <= N_PREDICT
    if server.fake:
        assert all(seen.json["stream_options"]["include_usage"] for seen in server.fake.posts[-2:])


def test_what_serves_the_model_is_found_out(llm: LLM, server: Server) -> None:
    """From what it says about itself."""
    engine = server.choose(old="mlxcel", newest="mlxcel", llama_cpp="llama.cpp")

    assert engine == llm.features.engine
    assert llm.model == server.get("/v1/models").json()["data"][0]["id"]


def test_a_wrong_key_is_told(server: Server) -> None:
    """Whatever the server says then."""
    with (
        LLM(base_url=server.url, api_key="wrong") as llm,
        pytest.raises(openai.AuthenticationError, match="MLXCEL_API_KEY"),
    ):
        llm.chat("Hi")


def test_what_is_not_there_is_told(llm: LLM) -> None:
    """A missing route and a missing model are one error that names the flag."""
    with pytest.raises(MlxcelError, match="reranker_model="):
        llm.rerank("a", ["b"])


@pytest.mark.parametrize("state", ["dead", "load_failed"])
def test_a_server_without_its_model_is_an_error(script: LLM, scripted: Server, state: str) -> None:
    """v0.4.2 ends a stream without a token then, as it does when it is asked for too much."""
    setattr(scripted.fake, state, True)

    with pytest.raises((openai.APIError, MlxcelStreamError)):
        script.chat("Hi")

    assert len(scripted.fake.posts) in (1, 1 + 2)


def test_nothing_is_sent_that_only_some_servers_know(script: LLM, scripted: Server) -> None:
    """No unknown field, no header that keeps an answer alive when its reader has gone."""
    script.chat("Hi")
    script.generate("Hi")

    posts = scripted.fake.posts
    assert [CHAT, COMPLETIONS] == [seen.path for seen in posts]
    for seen in posts:
        assert {"model", "messages", "prompt", "stream", "stream_options"} >= seen.json.keys()
        assert "x-conversation-id" not in seen.headers
