"""Decisions of `LLM` and `AsyncLLM`, with both server generations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from mlxcel_integrations import LLM, MlxcelError, StructuredOutputError
from mlxcel_integrations.structured.decision import MAX_REQUESTS
from tests.client.test_structured import BOTH
from tests.fakes.decider import Decider
from tests.fakes.server import FakeServer, Reply


def chunk(text: str = "", finish: str | None = None) -> dict[str, Any]:
    """Return an event without log probabilities."""
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


BUGS = Decider({"sales": 0.6, "bug fix": 0.25, "bug report": 0.15})


@BOTH
@pytest.mark.parametrize(
    ("decider", "asked"),
    [
        (Decider({"yes": 0.25, "no": 0.75}), [()]),
        (Decider({"grün": 0.5, "größer": 0.3, 'say "no"': 0.2}), [()]),
        (BUGS, [(), ("bug fix", "bug report")]),
    ],
    ids=["one request", "letters", "two requests"],
)
def test_a_decision_has_the_probability_of_each_label(
    client: Any, server: FakeServer, decider: Decider, asked: list[tuple[str, ...]]
) -> None:
    server.script(*(decider.reply(*labels) for labels in asked))
    labels = list(map(json.loads, decider.shares))
    decision = client.decide("Which?", labels, seed=1)

    assert decision.probabilities == pytest.approx(
        dict(zip(labels, decider.shares.values(), strict=True))
    )
    assert max(decision.probabilities, key=decision.probabilities.get) == decision.label
    assert len(asked) == decision.requests == len(server.posts)
    assert decision.usage is None or decision.usage["completion_tokens"] > 0
    sent = server.posts[0].json
    assert (1, True, 20, 0) == tuple(
        sent[name] for name in ("seed", "logprobs", "top_logprobs", "temperature")
    )
    assert {"enable_thinking": False} == sent["chat_template_kwargs"]


@BOTH
def test_the_prior_is_measured_with_a_request_of_its_own(client: Any, server: FakeServer) -> None:
    server.script(
        Decider({"yes": 0.6, "no": 0.4}).reply(), Decider({"yes": 0.9, "no": 0.1}).reply()
    )
    decision = client.decide("Is it?", ["yes", "no"], calibrate=True)

    assert ("no", 2) == (decision.label, decision.requests)
    assert ["Is it?", "N/A"] == [
        post.json["messages"][-1]["content"].split("\n\n")[0] for post in server.posts
    ]


@BOTH
@pytest.mark.parametrize(
    ("reply", "kind", "message"),
    [
        (
            Reply.events([chunk('"yes"'), chunk(finish="stop")]),
            MlxcelError,
            "sent no log probabilities",
        ),
        (Reply.text("Perhaps."), StructuredOutputError, "not one of the labels: 'Perhaps.'"),
        (Reply.text('"maybe"'), StructuredOutputError, "not one of the labels"),
        (Reply.text('{"a": 1}'), StructuredOutputError, "not one of the labels"),
        (Reply.error(422, "no"), openai.UnprocessableEntityError, "no"),
    ],
    ids=["no log probabilities", "text", "another label", "an object", "refused"],
)
def test_answers_that_decide_nothing(
    client: Any, server: FakeServer, reply: Reply, kind: type[Exception], message: str
) -> None:
    server.script(reply)

    with pytest.raises(kind, match=message):
        client.decide("Is it?", ["yes", "no"])


@pytest.mark.parametrize("labels", [[], ["a", "a"], [1], "a", [str(n) for n in range(100_000)]],
                         ids=["none", "twice", "number", "text", "too many"])  # fmt: skip
def test_bad_labels_are_refused_before_anything_is_sent(
    client: Any, server: FakeServer, labels: Any
) -> None:
    with pytest.raises(MlxcelError, match="labels"):
        client.decide("Which?", labels)
    assert not server.posts


@pytest.fixture(scope="module")
def engine() -> Iterator[LLM]:
    with LLM(model="embedded") as llm:
        yield llm


@pytest.mark.engine
@pytest.mark.parametrize("calibrate", [False, True])
def test_the_engine_decides_among_labels_that_begin_alike(engine: LLM, calibrate: bool) -> None:
    labels = ["billing", "bug", "bug report", "größer", 'say "no"']
    decision = engine.decide("The bill was sent to the wrong address.", labels, calibrate=calibrate)

    assert "billing" == decision.label
    assert labels == list(decision.probabilities)
    assert 1 == pytest.approx(sum(decision.probabilities.values()))
    assert decision.usage is not None
    assert decision.usage["completion_tokens"] > 0


@pytest.mark.engine
def test_more_labels_than_alternatives_take_the_engine_few_requests(engine: LLM) -> None:
    labels = [f"room {number}" for number in range(25)]
    decision = engine.decide("We meet in room 12. Where do we meet?", labels)

    assert decision.requests <= MAX_REQUESTS
    assert 1 == pytest.approx(sum(decision.probabilities.values()))
