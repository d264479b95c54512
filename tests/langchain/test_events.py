"""Events of version 3: those that LangChain makes of our chunks, with all log probabilities."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Iterable
from typing import Any

import pytest
from langchain_core._api import LangChainBetaWarning
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import _compat_bridge
from langchain_core.messages import HumanMessage

from mlxcel_integrations import MlxcelStreamError
from mlxcel_integrations.langchain import ChatMlxcel
from mlxcel_integrations.langchain.events import MessageEvents
from mlxcel_integrations.protocol.answers.delta import Delta
from tests.fakes.server import FakeServer, Reply

CALLS = [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}]
REPLIES = {
    "text": Reply.text("a b c"),
    "nothing": Reply.text(""),
    "thoughts": Reply.text("", reasoning="hm hm"),
    "calls": Reply.text("", tool_calls=CALLS),
    "all": Reply.text("a b", reasoning="hm", tool_calls=CALLS),
}


def events_of(llm: ChatMlxcel, asynchronous: bool, **options: Any) -> list[Any]:
    async def collect() -> list[Any]:
        stream = await llm.astream_events("x", version="v3", **options)
        return [event async for event in stream]

    with warnings.catch_warnings(category=LangChainBetaWarning, action="ignore"):
        if asynchronous:
            return asyncio.run(collect())
        return list(llm.stream_events("x", version="v3", **options))


def without_ids(events: Iterable[Any]) -> str:
    """Events as JSON, without the ids that are new in each answer."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items() if key != "id"}
        return value

    return json.dumps([plain(event) for event in events], sort_keys=True, indent=1)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("usage", [True, False])
@pytest.mark.parametrize("reply", REPLIES)
def test_events_are_those_that_langchain_makes_of_chunks(
    server: FakeServer, llm: ChatMlxcel, reply: str, usage: bool, asynchronous: bool
) -> None:
    server.script(REPLIES[reply], REPLIES[reply])
    chunks = llm._stream([HumanMessage("x")], stream_usage=usage)

    expected = list(_compat_bridge.chunks_to_events(chunks))

    assert without_ids(expected) == without_ids(events_of(llm, asynchronous, stream_usage=usage))


def test_the_id_of_a_message_is_that_of_its_run(server: FakeServer, llm: ChatMlxcel) -> None:
    runs = []

    class Runs(BaseCallbackHandler):
        def on_chat_model_start(self, *args: Any, run_id: Any, **kwargs: Any) -> None:
            runs.append(run_id)

    first = events_of(llm, False, config={"callbacks": [Runs()]})[0]

    assert [f"lc_run--{run}" for run in runs] == [first["id"]]


def test_log_probabilities_are_those_of_all_tokens() -> None:
    events = MessageEvents(None)
    deltas = [Delta(text=text, logprobs={"content": [{"token": text}]}) for text in "ab"]

    made = [event for delta in deltas for event in events.add(delta)]
    end = [*made, *events.finish(usage=True)][-1]

    assert ["a", "b"] == [part["token"] for part in end["metadata"]["logprobs"]["content"]]


def test_thoughts_and_text_in_one_delta_are_two_blocks() -> None:
    events = MessageEvents(None)

    deltas = [Delta(text="a", reasoning="b"), Delta(text="c")]
    made = [event for delta in deltas for event in events.add(delta)]
    made += events.finish(usage=True)

    whole = [event["content"] for event in made if event["event"] == "content-block-finish"]
    assert [
        {"type": "reasoning", "reasoning": "b"},
        {"type": "text", "text": "ac"},
    ] == whole


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [('{"a": "b', "invalid_tool_call"), ("5", "invalid_tool_call"), ("", "tool_call")],
)
def test_a_cut_call_is_invalid_and_has_its_own_text(arguments: str, kind: str) -> None:
    events = MessageEvents(None)
    function = {"name": "f", "arguments": arguments}

    made = list(events.add(Delta(tool_calls=[{"index": 3, "id": "c", "function": function}])))
    made += events.finish(usage=True)

    call = made[-2]["content"]
    assert kind == call["type"]
    assert (arguments or {}) == call["args"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_answer_that_breaks_off_is_an_error(
    server: FakeServer, llm: ChatMlxcel, asynchronous: bool
) -> None:
    server.script(Reply.text("a b c", cut_after=300))

    with pytest.raises(MlxcelStreamError):
        events_of(llm, asynchronous)
