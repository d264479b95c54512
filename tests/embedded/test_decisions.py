"""Decisions on the embedded engine, compared with its probabilities of the next token."""

from __future__ import annotations

import math
from pathlib import Path

import httpx
import pytest

from mlxcel_integrations import LLM
from mlxcel_integrations.embedded.model import locate_model
from mlxcel_integrations.structured.decision import Deciding
from tests.embedded.engine import serving

pytestmark = pytest.mark.engine

LABELS = ["a", "ab", "abc", "b"]


def test_labels_that_begin_alike_have_the_probabilities_of_the_engine(place: Path) -> None:
    path = place / "x.sock"
    # Without its adapter, which would change these probabilities with the size of a batch.
    model = str(locate_model("embedded"))
    with serving(path, "-m", model) as engine, LLM(socket=path) as llm:
        expected, found = by_hand(engine, llm), llm.decide("Which one?", LABELS).probabilities

    assert expected == pytest.approx(found, abs=0.05)


def by_hand(engine: httpx.Client, llm: LLM) -> dict[str, float]:
    """Return the probabilities of labels that are one token each, after the quote."""
    messages, fields = next(Deciding("Which one?", LABELS, False, {}).requests())
    rendered = engine.post("/apply-template", json={"messages": messages}).json()["prompt"]
    logprobs = llm.complete_chat(messages, **fields).logprobs or {}
    before, quote, _ = "".join(entry["token"] for entry in logprobs["content"]).partition('"')
    body = {"prompt": rendered + before + quote, "n_predict": 1, "n_probs": 500}
    found = engine.post("/completion", json=body).json()["completion_probabilities"][0]
    raw = {one["token"]: math.exp(one["logprob"]) for one in found["top_logprobs"]}
    total = sum(raw[label] for label in LABELS)
    return {label: raw[label] / total for label in LABELS}
