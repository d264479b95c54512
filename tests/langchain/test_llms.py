"""``MlxcelLLM`` against a scripted server, in both generations."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from langchain_core import exceptions as lc
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, get_buffer_string
from langchain_core.prompts import PromptTemplate

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.langchain import MlxcelLLM
from tests.fakes.server import FakeServer, Reply

Ask = Callable[..., str]


@pytest.fixture(params=["newest", "v0.4.2"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    with FakeServer(request.param) as running:
        yield running


@pytest.fixture
def llm(server: FakeServer) -> Iterator[MlxcelLLM]:
    with MlxcelLLM(base_url=server.url) as model:
        yield model


def invoke(llm: Any, *args: Any, **kwargs: Any) -> str:
    return str(llm.invoke(*args, **kwargs))


def ainvoke(llm: Any, *args: Any, **kwargs: Any) -> str:
    return str(asyncio.run(llm.ainvoke(*args, **kwargs)))


def stream(llm: Any, *args: Any, **kwargs: Any) -> str:
    return "".join(llm.stream(*args, **kwargs))


def astream(llm: Any, *args: Any, **kwargs: Any) -> str:
    async def collect() -> list[str]:
        return [text async for text in llm.astream(*args, **kwargs)]

    return "".join(asyncio.run(collect()))


ALL_WAYS = pytest.mark.parametrize("ask", [invoke, ainvoke, stream, astream])


@ALL_WAYS
def test_a_text_is_continued(server: FakeServer, llm: MlxcelLLM, ask: Ask) -> None:
    assert "echo: once upon a time" == ask(llm, "once upon a time", stop=["END"], max_tokens=9)

    seen = server.posts[-1]
    assert "/v1/completions" == seen.path
    assert (["END"], 9, True) == (seen.json["stop"], seen.json["max_tokens"], seen.json["stream"])


class Told(BaseCallbackHandler):
    """Notes what callbacks are told."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.info: dict[str, Any] = {}
        self.output: dict[str, Any] | None = None

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.tokens.append(token)

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.info = response.generations[0][0].generation_info
        self.output = response.llm_output


@ALL_WAYS
def test_callbacks_are_told_the_same_in_every_way(llm: MlxcelLLM, ask: Ask) -> None:
    told = Told()
    text = ask(llm, "a b", config={"callbacks": [told]}, logprobs=True)

    assert {
        "model_provider",
        "model_name",
        "finish_reason",
        "id",
        "token_usage",
        "logprobs",
    } == set(told.info)
    assert "stop" == told.info["finish_reason"]
    assert told.output is not None
    assert "fake-model" == told.output["model_name"]
    counts = {name: told.info["token_usage"][name] for name in told.output["token_usage"]}
    assert counts == told.output["token_usage"] != {}
    assert text == "".join(told.info["logprobs"]["tokens"])
    assert "".join(told.tokens) in ("", text)


def test_tokens_are_called_back_once_each_in_streams(llm: MlxcelLLM) -> None:
    told = Told()
    text = stream(llm, "a b c", config={"callbacks": [told]})

    assert text == "".join(told.tokens)
    assert len(told.tokens) > 1


def test_tokens_are_counted_by_the_server(server: FakeServer, llm: MlxcelLLM) -> None:
    question = [HumanMessage("Where is Oslo?"), AIMessage("There.")]
    text = get_buffer_string(question)

    ids = llm.get_token_ids(text)

    assert ids == asyncio.run(llm.aget_token_ids(text))
    assert len(ids) == llm.get_num_tokens(text) == asyncio.run(llm.aget_num_tokens(text))
    llm.invoke(question)
    sent = server.posts[-1].json["prompt"]
    assert text == sent
    counts = [
        llm.get_num_tokens_from_messages(question),
        asyncio.run(llm.aget_num_tokens_from_messages(question)),
    ]
    assert [len(llm._llm.tokenize(sent, add_special=True))] * 2 == counts
    assert 0 == llm.get_num_tokens_from_messages([])
    assert {"/tokenize", "/v1/completions", "/health", "/props", "/v1/models"} >= {
        seen.path for seen in server.requests
    }


def test_counts_may_be_those_of_the_user(server: FakeServer) -> None:
    own = MlxcelLLM(base_url=server.url, custom_get_token_ids=lambda text: [1] * len(text))

    assert 2 == own.get_num_tokens("ab")
    question = [HumanMessage("x")]
    expected = len(get_buffer_string(question))
    assert expected == own.get_num_tokens_from_messages(question)
    assert expected == asyncio.run(own.aget_num_tokens_from_messages(question))
    assert [] == server.requests


@ALL_WAYS
def test_the_form_of_a_text_may_be_that_of_a_type(
    server: FakeServer, llm: MlxcelLLM, ask: Ask
) -> None:
    assert [1] == json.loads(ask(llm, "x", response_format=list[int]))["value"]
    assert "json_schema" == server.posts[-1].json["response_format"]["type"]


def test_batches_keep_their_order_and_sum_their_usage(llm: MlxcelLLM) -> None:
    prompts = [f"prompt {number}" for number in range(20)]
    expected = [f"echo: {prompt}" for prompt in prompts]

    assert expected == llm.batch(prompts)
    assert expected == asyncio.run(llm.abatch(prompts))
    result = llm.generate(prompts)
    counts = [generation[0].generation_info["token_usage"] for generation in result.generations]  # type: ignore[index]  # always told
    assert result.llm_output is not None
    expected_total = sum(count["total_tokens"] for count in counts)
    assert expected_total == result.llm_output["token_usage"]["total_tokens"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_prompt_that_fails_fails_its_batch(
    server: FakeServer, llm: MlxcelLLM, asynchronous: bool
) -> None:
    server.script(Reply.text("ok"), Reply.error(400, "the reason"))

    with pytest.raises(openai.BadRequestError, match="the reason") as caught:
        asyncio.run(llm.abatch(["a", "b", "c"])) if asynchronous else llm.batch(["a", "b", "c"])
    assert isinstance(caught.value, lc.ModelInvalidRequestError)


def test_it_composes_caches_and_pickles(server: FakeServer) -> None:
    with MlxcelLLM(base_url=server.url, cache=InMemoryCache()) as llm:
        chain = PromptTemplate.from_template("Say {word}") | llm
        assert ["echo: Say hi"] * 2 == [chain.invoke({"word": "hi"}) for _ in range(2)]
        assert 1 == len(server.posts)
        copy = pickle.loads(pickle.dumps(llm.model_copy(update={"cache": None})))
        assert "echo: x" == copy.invoke("x")
        copy.close()


def test_a_wrong_name_says_which_one_is_near() -> None:
    with pytest.raises(MlxcelError, match=r"MlxcelLLM has no option 'temprature'.*'temperature'"):
        MlxcelLLM(base_url="http://x", temprature=1)


@ALL_WAYS
def test_the_middle_of_a_text_is_filled_in_where_this_is_served(ask: Ask) -> None:
    with FakeServer("newest") as server, MlxcelLLM(base_url=server.url) as llm:
        assert "echo: def f(): ... return x" == ask(llm, "def f():", suffix="return x")

        assert "/infill" == server.posts[-1].path


@ALL_WAYS
def test_a_server_that_fills_in_nothing_says_so(ask: Ask) -> None:
    with (
        FakeServer("v0.4.2") as server,
        MlxcelLLM(base_url=server.url) as llm,
        pytest.raises(openai.NotFoundError, match="recent version"),
    ):
        ask(llm, "def f():", suffix="return x")


def test_leaving_a_batch_frees_the_server_at_once(server: FakeServer, llm: MlxcelLLM) -> None:
    server.script(*[Reply.text("word " * 1000, delay=0.02)] * 2)

    async def leave() -> None:
        task = asyncio.ensure_future(llm.abatch(["x", "y"]))
        await asyncio.to_thread(server.wait_post)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.wait_disconnect)

    asyncio.run(leave())
