"""``ChatMlxcel`` against a scripted server."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField
from langchain_core.version import VERSION

from mlxcel_integrations import MlxcelError, __version__
from mlxcel_integrations.langchain import ChatMlxcel, MlxcelLLM
from tests.fakes.samples import SAMPLING
from tests.fakes.server import FakeServer, Reply
from tests.langchain.ways import ALL_WAYS, Ask


@ALL_WAYS
def test_an_answer_comes_with_usage_and_metadata(llm: ChatMlxcel, ask: Ask) -> None:
    message = ask(llm, "hello there")

    assert "echo: hello there" == message.text
    assert isinstance(message, AIMessage)
    assert message.usage_metadata is not None
    total = message.usage_metadata["input_tokens"] + message.usage_metadata["output_tokens"]
    assert total == message.usage_metadata["total_tokens"] > 0
    expected = {"model_name", "finish_reason", "model_provider", "id", "token_usage"}
    assert expected == set(message.response_metadata)
    assert total == message.response_metadata["token_usage"]["total_tokens"]
    assert "fake-model" == message.response_metadata["model_name"]
    assert "stop" == message.response_metadata["finish_reason"]
    assert "mlxcel" == message.response_metadata["model_provider"]


@ALL_WAYS
def test_reasoning_logprobs_and_tool_calls_arrive_the_same_way(
    server: FakeServer, llm: ChatMlxcel, ask: Ask
) -> None:
    call = {"id": "call_1", "name": "f", "arguments": '{"a": 1}'}
    server.script(Reply.text("hi", reasoning="let me think", tool_calls=[call]))

    message = ask(llm, "x")

    assert isinstance(message, AIMessage)
    assert "let me think" == message.additional_kwargs["reasoning_content"]
    assert [("f", {"a": 1})] == [(c["name"], c["args"]) for c in message.tool_calls]
    assert ["reasoning", "text", "tool_call"] == [b["type"] for b in message.content_blocks]


@ALL_WAYS
def test_every_generation_streams_on_the_wire_with_usage(
    server: FakeServer, llm: ChatMlxcel, ask: Ask
) -> None:
    ask(llm, "x")

    body = server.posts[-1].json
    assert body["stream"] is True
    assert {"include_usage": True} == body["stream_options"]


@pytest.mark.parametrize("name", sorted(SAMPLING))
def test_a_bound_sampling_field_reaches_the_request(
    server: FakeServer, llm: ChatMlxcel, name: str
) -> None:
    fields = {name: SAMPLING[name]} | ({"logprobs": True} if name == "top_logprobs" else {})
    server.script(Reply.text("ok"))

    llm.bind(**fields).invoke("x")

    sent, expected = ("mine", 1) if name == "extra_body" else (name, SAMPLING[name])
    assert expected == server.posts[-1].json[sent]


def test_an_empty_stop_is_not_sent(server: FakeServer) -> None:
    with ChatMlxcel(base_url=server.url, stop=[]) as llm:
        llm.invoke("x", stop=[])

    assert "stop" not in server.posts[-1].json


def test_a_plain_text_as_stop_is_taken_for_a_list_of_one(server: FakeServer) -> None:
    assert ["END"] == ChatMlxcel(base_url=server.url, stop="END").stop


def test_what_is_said_about_thinking_in_detail_beats_reasoning(
    server: FakeServer, llm: ChatMlxcel
) -> None:
    own = {"enable_thinking": True, "mine": 1}
    llm.invoke("x", reasoning=False, thinking_budget_tokens=7, chat_template_kwargs=own)

    body = server.posts[-1].json
    assert (own, 7) == (body["chat_template_kwargs"], body["thinking_budget_tokens"])


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({}, True),
        ({"stream_usage": False}, False),
        ({"stream_options": {"include_usage": False}}, False),
        ({"stream_options": {"include_usage": False}, "stream_usage": True}, True),
        ({"stream_options": None}, True),
    ],
    ids=str,
)
def test_a_call_says_whether_its_stream_ends_with_token_counts(
    llm: ChatMlxcel, call: dict[str, Any], expected: bool
) -> None:
    assert expected == any(chunk.usage_metadata for chunk in llm.stream("x", **call))


@pytest.mark.parametrize("kind", [ChatMlxcel, MlxcelLLM])
def test_traces_have_the_versions_of_all_packages(kind: Any) -> None:
    with kind(base_url="http://127.0.0.1:9") as llm:
        versions = llm.metadata["lc_versions"]

    assert {
        "langchain-core": VERSION,
        "mlxcel-integrations": __version__,
    }.items() <= versions.items()


def test_usage_can_be_left_out_of_streams(server: FakeServer) -> None:
    with ChatMlxcel(base_url=server.url, stream_usage=False) as llm:
        chunks = list(llm.stream("x"))

    assert "echo: x" == "".join(chunk.text for chunk in chunks)
    assert {None} == {chunk.usage_metadata for chunk in chunks}
    assert [] == [chunk for chunk in chunks if "token_usage" in chunk.response_metadata]


def test_every_chunk_names_the_provider_and_only_the_last_is_marked(llm: ChatMlxcel) -> None:
    chunks = list(llm.stream("a b c"))

    assert {"mlxcel"} == {chunk.response_metadata["model_provider"] for chunk in chunks}
    assert [None] * (len(chunks) - 1) + ["last"] == [chunk.chunk_position for chunk in chunks]
    assert 1 == sum("finish_reason" in chunk.response_metadata for chunk in chunks)


def test_it_composes_with_prompts_parsers_config_and_retry(llm: ChatMlxcel) -> None:
    prompt = ChatPromptTemplate([("system", "Be brief."), ("human", "{question}")])
    chain = (
        prompt | llm.with_config(tags=["t"]).with_retry(stop_after_attempt=2) | StrOutputParser()
    )

    assert "echo: why" == chain.invoke({"question": "why"})
    assert "echo: why" == "".join(chain.stream({"question": "why"}))


def test_the_usage_of_several_prompts_is_summed(llm: ChatMlxcel) -> None:
    result = llm.generate([[HumanMessage("one")], [HumanMessage("one two")]])

    counts = [generation[0].message.usage_metadata for generation in result.generations]  # type: ignore[union-attr]  # chat generations
    assert result.llm_output is not None
    expected = sum(count["total_tokens"] for count in counts)
    assert expected == result.llm_output["token_usage"]["total_tokens"]
    assert "fake-model" == result.llm_output["model_name"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_output_is_the_same_whether_or_not_callbacks_get_tokens(
    server: FakeServer, asynchronous: bool
) -> None:
    class Output(BaseCallbackHandler):
        def on_llm_end(self, response: Any, **_: Any) -> None:
            told.append(response.llm_output)

    told: list[Any] = []
    outputs = []
    for streaming in (False, True):
        with ChatMlxcel(base_url=server.url, streaming=streaming) as llm:
            given: Any = [[HumanMessage("a b")], [HumanMessage("c")]]
            config: Any = {"callbacks": [Output()]}
            result = (
                asyncio.run(llm.agenerate(given, **config))
                if asynchronous
                else llm.generate(given, **config)
            )
            outputs.append(result.llm_output)

    assert outputs[0] == outputs[1]
    assert "fake-model" == outputs[1]["model_name"]
    assert 0 < outputs[1]["token_usage"]["total_tokens"]
    assert told[:2] == told[2:] != [None, None]


def test_an_answer_from_a_cache_costs_no_tokens(server: FakeServer) -> None:
    with ChatMlxcel(base_url=server.url, streaming=True, cache=InMemoryCache()) as llm:
        results = [llm.generate([[HumanMessage("x")]]) for _ in range(2)]

    first, cached = [result.llm_output or {} for result in results]
    assert 0 < first["token_usage"]["total_tokens"]
    assert not cached.get("token_usage", {}).get("total_tokens")


def test_usage_callbacks_add_up(llm: ChatMlxcel) -> None:
    handler = UsageMetadataCallbackHandler()
    messages = [llm.invoke("one", config={"callbacks": [handler]}) for _ in range(2)]

    expected = sum(message.usage_metadata["total_tokens"] for message in messages)  # type: ignore[index]  # always told by this server
    assert expected == handler.usage_metadata["fake-model"]["total_tokens"]


def test_token_callbacks_are_made_once_for_each_token(llm: ChatMlxcel) -> None:
    async def tokens() -> list[str]:
        events = llm.astream_events("a b", version="v2")
        return [
            event["data"]["chunk"].text
            async for event in events
            if event["event"] == "on_chat_model_stream"
        ]

    assert "echo: a b" == "".join(asyncio.run(tokens()))


def test_another_model_can_be_named_for_a_call(server: FakeServer, llm: ChatMlxcel) -> None:
    llm.invoke("x", model="other")

    assert "other" == server.posts[-1].json["model"]


def test_the_model_is_asked_for_once(server: FakeServer, llm: ChatMlxcel) -> None:
    for _ in range(3):
        llm.invoke("x")
    asyncio.run(llm.ainvoke("x"))

    assert 1 == sum(seen.path == "/v1/models" for seen in server.requests)


def test_the_served_models_are_listed(llm: ChatMlxcel) -> None:
    assert ["fake-model"] == llm.list_models() == asyncio.run(llm.alist_models())


def test_configurable_fields_reach_the_request(server: FakeServer, llm: ChatMlxcel) -> None:
    configurable = llm.configurable_fields(temperature=ConfigurableField("t"))

    configurable.invoke("x", config={"configurable": {"t": 0.25}})

    assert 0.25 == server.posts[-1].json["temperature"]


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        lambda llm: llm.model_copy(),
        lambda x: pickle.loads(pickle.dumps(x)),
    ],
    ids=["copy", "deepcopy", "model_copy", "pickle"],
)
def test_copies_answer_too(llm: ChatMlxcel, copied: Callable[[ChatMlxcel], ChatMlxcel]) -> None:
    other = copied(llm)

    assert "echo: x" == other.invoke("x").text
    other.close()


def test_a_negative_max_tokens_is_refused_in_the_constructor_and_in_a_call(llm: ChatMlxcel) -> None:
    with pytest.raises(MlxcelError, match="max_tokens=-1 must be at least 0"):
        ChatMlxcel(base_url="http://x", max_tokens=-1)
    with pytest.raises(MlxcelError, match="max_tokens is -1"):
        llm.invoke("x", max_tokens=-1)


def test_a_misspelt_field_of_a_call_is_sent_with_one_warning(
    server: FakeServer, llm: ChatMlxcel
) -> None:
    with pytest.warns(UserWarning, match="did you mean 'presence_penalty'"):
        llm.invoke("x", presense_penalty=1)
    llm.invoke("x", presense_penalty=1)

    assert 1 == server.posts[-1].json["presense_penalty"]
