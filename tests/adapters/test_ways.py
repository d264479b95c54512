"""Each way to ask a model: what is sent, and what becomes of the answer."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mlxcel_integrations import MlxcelError, MlxcelStreamError
from mlxcel_integrations.options.fields import SamplingParams
from tests.adapters.frameworks import Framework, Json, LangChain
from tests.adapters.ways import CHATS, WAYS, Way
from tests.fakes.samples import SAMPLING
from tests.fakes.server import FakeServer, Reply

ALL_WAYS = pytest.mark.parametrize("way", WAYS, indirect=True, ids=str)


def sent_by(way: Way) -> dict[str, tuple[str, Any]]:
    """Return the name and the value that the server gets for each field of ``SAMPLING``."""
    sent = {name: (name, value) for name, value in SAMPLING.items()}
    sent["extra_body"] = ("mine", 1)
    if way.completes:
        # This route takes the number of alternatives in place of True.
        sent |= {"logprobs": ("logprobs", 1), "top_logprobs": ("logprobs", 2)}
        if way.framework is LangChain:
            del sent["top_logprobs"], sent["chat_template_kwargs"]  # no fields of this class
    return sent


@pytest.mark.parametrize("place", ["constructor", "call"])
@pytest.mark.parametrize(
    "way", [way for way in WAYS if not (way.is_async or way.streams)], indirect=True, ids=str
)
def test_every_sampling_field_reaches_the_request(server: FakeServer, way: Way, place: str) -> None:
    assert set(SAMPLING) == set(SamplingParams.model_fields)
    expected = sent_by(way)
    bodies = {}
    for name in expected:
        fields = {name: SAMPLING[name]} | ({"logprobs": True} if name == "top_logprobs" else {})
        server.script(Reply.text("ok"))
        with way.model(server, **(fields if place == "constructor" else {})) as llm:
            way.ask(llm, "x", **(fields if place == "call" else {}))
        bodies[name] = server.posts[-1].json

    sent = {name: (field, bodies[name].get(field)) for name, (field, _) in expected.items()}
    assert expected == sent


@ALL_WAYS
def test_a_call_beats_the_constructor_and_extra_body_beats_both(
    server: FakeServer, way: Way
) -> None:
    call: Json = {"temperature": 0.2, "seed": 2, "stop": ["B"], "extra_body": {"seed": 3}}
    with way.model(server, temperature=0.1, seed=1, stop="A") as llm:
        way.ask(llm, "x", **call, model="other")
        way.ask(llm, "x")

    called, own = (post.json for post in server.posts)
    assert (0.2, 3, ["B"]) == (called["temperature"], called["seed"], called["stop"])
    assert ("other", "fake-model") == (called["model"], own["model"])
    assert (0.1, 1, ["A"]) == (own["temperature"], own["seed"], own["stop"])


V1 = [
    dataclasses.replace(way, options={"output_version": "v1"})
    for way in CHATS
    if way.framework is LangChain
]


@pytest.mark.parametrize("way", CHATS + V1, indirect=True, ids=str)
def test_thinking_comes_in_and_goes_back(server: FakeServer, way: Way) -> None:
    framework = way.framework()
    server.script(Reply.text("It is 51.", reasoning="17 times 3 is 51."))
    with way.model(server) as llm:
        answer = way.ask(llm, "What is 17 times 3?")
        asked = framework.message_of(answer)
        history = [framework.user("What is 17 times 3?"), asked, framework.user("Sure?")]
        for model in (llm, llm.model_copy(update={"send_reasoning": False})):
            way.ask(model, history)

    assert "17 times 3 is 51." == framework.thinking(answer)
    assert "It is 51." == framework.text(answer)
    sent, sent_silently = (post.json["messages"][1] for post in server.posts[-2:])
    plain = {"role": "assistant", "content": "It is 51."}
    assert {**plain, "reasoning_content": "17 times 3 is 51."} == sent
    assert plain == sent_silently


@ALL_WAYS
@pytest.mark.parametrize("generation", ["newest", "v0.4.2"])
def test_a_cut_answer_is_an_error_that_keeps_its_text(server: FakeServer, way: Way) -> None:
    def part(text: str) -> Json:
        choice = {"index": 0, "delta": {"content": text}, "text": text, "finish_reason": None}
        return {"choices": [choice]}

    server.script(Reply.events([part("one"), part(" two")], done=False))

    with (
        way.model(server) as llm,
        pytest.raises(MlxcelStreamError, match="cut short") as caught,
    ):
        way.ask(llm, "x")

    assert "one two" == caught.value.partial
    if way.framework is LangChain:
        from langchain_core.exceptions import ModelAPIError

        assert isinstance(caught.value, ModelAPIError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Neither a model nor a server"),
        ({"model": "m", "base_url": "http://x"}, "served_model="),
        ({"base_url": "http://x", "socket": "/x"}, "Drop the one"),
        ({"base_url": "http://x", "temprature": 1}, "Did you mean 'temperature'"),
        ({"base_url": "http://x", "wholly_unknown": 1}, "extra_body"),
        ({"base_url": "http://x", "ctx_size": 512}, "ctx_size= can only be set for a server"),
    ],
)
def test_a_wrong_constructor_says_what_to_do(
    framework: Framework, options: Json, message: str
) -> None:
    with pytest.raises(MlxcelError, match=message):
        framework.model(**options)
