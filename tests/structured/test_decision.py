"""Decisions in the making: their requests, priors and checks."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.answers.reply import ChatReply
from mlxcel_integrations.structured.decision import MAX_LABELS, MAX_REQUESTS, Deciding, Decision
from tests.fakes.decider import Decider, allowed_labels


class Model(Decider):
    """A model that keeps its requests."""

    def __init__(self, shares: dict[str, float], alternatives: int = 20) -> None:
        super().__init__(shares, alternatives)
        self.requests: list[dict[str, Any]] = []

    def __call__(self, messages: Any, fields: Any) -> ChatReply:
        self.requests.append({"messages": messages, **fields})
        entries = self.answer(allowed_labels(fields))
        text = "".join(entry["token"] for entry in entries)
        usage = {"prompt_tokens": 3, "completion_tokens": len(entries)}
        return ChatReply(text, logprobs={"content": entries}, usage=usage, model="m")


def decided(model: Model, deciding: Deciding) -> Decision:
    for messages, fields in deciding.requests():
        deciding.read(model(messages, fields))
    return deciding.decision()


@pytest.mark.parametrize(
    ("shares", "requests"),
    [
        ({"yes": 0.75, "no": 0.25}, 1),
        ({"yes": 0.25, "no": 0.75}, 1),
        ({"bug": 0.2, "bug fix": 0.3, "bug report": 0.1, "billing": 0.4}, 1),
        # The answer is "sales", and another request tells the others apart.
        ({"sales": 0.6, "bug fix": 0.25, "bug report": 0.15}, 2),
        ({"grün": 0.5, "größer": 0.2, 'say "no"': 0.2, "a\\b": 0.1}, 1),
        ({"only": 1.0}, 1),
    ],
)
def test_the_distribution_is_that_of_the_model(shares: dict[str, float], requests: int) -> None:
    model = Model(shares)
    decision = decided(model, Deciding("Which?", list(shares), False, {}))

    assert shares == pytest.approx(decision.probabilities)
    assert list(shares) == list(decision.probabilities)
    assert max(shares, key=shares.__getitem__) == decision.label
    assert shares[decision.label] == pytest.approx(decision.probability)
    assert (requests, 0) == (decision.requests, decision.estimated)
    assert requests == len(model.requests)
    assert {"prompt_tokens": 3 * requests} | {"model": "m"} == {
        "prompt_tokens": (decision.usage or {})["prompt_tokens"],
        "model": decision.model,
    }


def test_random_distributions_are_found() -> None:
    source = random.Random(7)
    for _ in range(30):
        labels = {"".join(source.choices("ab", k=source.randint(1, 4))) for _ in range(6)}
        weights = {label: source.random() for label in sorted(labels)}
        shares = {label: one / sum(weights.values()) for label, one in weights.items()}
        decision = decided(Model(shares), Deciding("Which?", list(shares), False, {}))
        wrong = sum(abs(decision.probabilities[label] - shares[label]) for label in shares)

        assert 2 * decision.estimated + 1e-9 >= wrong


def test_a_thousand_labels_take_one_request_if_the_model_is_sure() -> None:
    labels = [f"label {number}" for number in range(1000)]
    shares = dict.fromkeys(labels, 0.004 / 999) | {"label 500": 0.996}
    decision = decided(Model(shares), Deciding("Which?", labels, False, {}))

    assert ("label 500", 1) == (decision.label, decision.requests)
    assert shares == pytest.approx(decision.probabilities, abs=1e-4)
    assert 1 == pytest.approx(sum(decision.probabilities.values()))


def test_a_model_that_knows_nothing_takes_no_more_than_a_few_requests() -> None:
    labels = [f"{number:03}" for number in range(1000)]
    decision = decided(Model(dict.fromkeys(labels, 0.001)), Deciding("Which?", labels, False, {}))

    assert MAX_REQUESTS == decision.requests
    assert decision.estimated > 0.5
    assert dict.fromkeys(labels, 0.001) == pytest.approx(decision.probabilities)


def test_labels_outside_the_alternatives_are_estimated() -> None:
    decision = decided(
        Model({"a": 0.5, "b": 0.3, "c": 0.15, "d": 0.05}, alternatives=2),
        Deciding("Which?", list("abcd"), False, {}),
    )

    assert "a" == decision.label
    assert decision.probabilities["c"] == decision.probabilities["d"]
    assert decision.estimated == pytest.approx(0.3 / 1.1)


def test_the_labels_stand_at_the_end_and_the_request_is_bound_to_them() -> None:
    model = Model({"no": 0.5, "yes": 0.5})
    messages = [{"role": "system", "content": "Be fair."}, {"role": "user", "content": "Is it?"}]
    decided(model, Deciding(messages, ["yes", "no"], False, {"seed": 1}))

    sent = model.requests[0]
    shown = 'Is it?\n\nAnswer with one of these labels, as JSON:\n["yes", "no"]'
    assert [messages[0], {"role": "user", "content": shown}] == list(sent["messages"])
    assert {"enum": ["no", "yes"], "type": "string"} == (
        sent["response_format"]["json_schema"]["schema"]
    )
    assert (1, True, 20, 0.0) == tuple(
        sent[name] for name in ("seed", "logprobs", "top_logprobs", "temperature")
    )
    assert {"enable_thinking": False} == sent["chat_template_kwargs"]


class Biased(Model):
    """A model that prefers one label for any text, and less so when there is a question."""

    def __call__(self, messages: Any, fields: Any) -> ChatReply:
        nothing = messages[-1]["content"].startswith("N/A")
        shares = {"yes": 0.9, "no": 0.1} if nothing else {"yes": 0.6, "no": 0.4}
        self.shares = {f'"{label}"': share for label, share in shares.items()}
        return super().__call__(messages, fields)


@pytest.mark.parametrize("calibrate", [True, "N/A, really"])
def test_the_prior_is_divided_out(calibrate: Any) -> None:
    model = Biased({})
    messages = [{"role": "system", "content": "Be fair."}, {"role": "user", "content": "Is it?"}]
    decision = decided(model, Deciding(messages, ["yes", "no"], calibrate, {}))

    odds = {"yes": 0.6 / 0.9, "no": 0.4 / 0.1}
    assert "no" == decision.label
    assert odds["no"] / sum(odds.values()) == pytest.approx(decision.probability)
    assert (2, 6) == (decision.requests, (decision.usage or {})["prompt_tokens"])
    assert (calibrate is True) == (len(model.requests[1]["messages"]) == 2)


def test_estimates_are_not_divided_by_a_prior() -> None:
    deciding = Deciding("Which?", list("abcd"), True, {})
    conversation = Model({"a": 0.5, "b": 0.3, "c": 0.1, "d": 0.1}, 2)
    prior = Model({"a": 0.6, "b": 0.3, "c": 0.05, "d": 0.05})
    for model, request in zip([conversation, prior], deciding.requests(), strict=True):
        deciding.read(model(*request))
    decision = deciding.decision()

    assert {"a": 5 / 11, "b": 3 / 11, "c": 1.5 / 11, "d": 1.5 / 11} != decision.probabilities
    assert [1.5 / 11] * 2 == pytest.approx([decision.probabilities[one] for one in "cd"])
    assert (5 / 6) == pytest.approx(decision.probabilities["a"] / decision.probabilities["b"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], r"labels= is empty"),
        ("yes", r"labels= is a single string"),
        (None, r"labels= must be a list of strings"),
        (["a", "b", "a"], r"labels= has 'a' twice"),
        (["a", ""], r"labels= has an empty label"),
        (["a", 1], r"labels\[1\] is int, not a string"),
        (["a", None], r"labels\[1\] is NoneType, not a string"),
        ([str(n) for n in range(100_000)], rf"100,000 labels, but at most {MAX_LABELS:,}"),
    ],
    ids=["none", "one string", "not a list", "twice", "empty", "number", "null", "too many"],
)
def test_labels_that_cannot_be_decided_on_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(MlxcelError, match=message):
        Deciding("Which?", labels, False, {})


@pytest.mark.parametrize("name", ["logprobs", "max_tokens", "response_format", "tools", "stop"])
def test_fields_that_a_decision_sets_are_refused(name: str) -> None:
    with pytest.raises(MlxcelError, match=f"decide sets {name}= itself"):
        Deciding("Which?", ["a"], False, {name: 1})
    Deciding("Which?", ["a"], False, {name: None})


def test_our_part_of_a_thousand_labels_takes_two_milliseconds() -> None:
    labels = [f"label {number}" for number in range(1000)]
    reply = Model(dict.fromkeys(labels, 0.004 / 999) | {"label 500": 0.996})(
        *next(Deciding("Which?", labels, False, {}).requests())
    )
    best = 1.0
    for _ in range(20):
        begun = time.perf_counter()
        deciding = Deciding("Which?", labels, False, {})
        next(deciding.requests())
        deciding.read(reply)
        deciding.decision()
        best = min(best, time.perf_counter() - begun)

    assert best < 0.002
