"""Decisions by embeddings: labels, examples and their vectors."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.structured.nearest_label import ByEmbeddings, check_route

SEA, LAND, BOTH = [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]


def test_the_label_whose_examples_are_nearest_on_average_is_chosen() -> None:
    deciding = ByEmbeddings("A tide", {"sea": ["waves", "beach"], "land": ["field"]})
    decision = deciding.decision([2.0, 0.0], [SEA, BOTH, BOTH], "m")

    assert ["waves", "beach", "field"] == deciding.examples
    assert "sea" == decision.label
    assert ["sea", "land"] == list(decision.probabilities)
    assert 1 == pytest.approx(sum(decision.probabilities.values()))
    assert (1.0, "m", None) == (decision.estimated, decision.model, decision.usage)


def test_the_length_of_a_vector_does_not_matter() -> None:
    deciding = ByEmbeddings("?", ["a", "b"])
    short, long = deciding.decision(BOTH, [SEA, BOTH]), deciding.decision([9, 9], [SEA, [0.1, 0.1]])

    assert short.probabilities == pytest.approx(long.probabilities)


def test_a_vector_of_zeros_is_near_to_nothing() -> None:
    decision = ByEmbeddings("?", ["a", "b"]).decision([0.0, 0.0], [SEA, LAND])

    assert {"a": 0.5, "b": 0.5} == decision.probabilities


def test_a_label_without_examples_is_its_own() -> None:
    assert ["sea", "land"] == ByEmbeddings("?", ["sea", "land"]).examples
    assert ["sea", "field"] == ByEmbeddings("?", {"sea": [], "land": ["field"]}).examples


def test_only_one_way_to_decide_is_taken() -> None:
    with pytest.raises(MlxcelError, match="calibrate=True is for log probabilities"):
        check_route(by_embeddings=True, calibrate=True)
    check_route(by_embeddings=True, calibrate=False)
    check_route(by_embeddings=False, calibrate=True)


@pytest.mark.parametrize(
    ("text", "labels", "message"),
    [
        ("?", [], r"labels= is empty"),
        ("?", {}, r"labels= is empty"),
        ("?", ["a", "a"], r"labels= has 'a' twice"),
        ("?", {"a": "one text"}, r"labels\['a'\]= is a single string"),
        ("?", {"a": [1]}, r"labels\['a'\]\[0\] is int"),
        ("?", {1: ["a"]}, r"labels\[0\] is int"),
        ("?", [str(n) for n in range(100_000)], "100,000 labels"),
        (" ", ["a"], r"text= is empty"),
        (None, ["a"], "text"),
    ],
    ids=["none", "no pairs", "twice", "a text", "a number", "a key", "many", "blank", "no text"],
)
def test_what_cannot_be_classified(text: Any, labels: Any, message: str) -> None:
    with pytest.raises(MlxcelError, match=message):
        ByEmbeddings(text, labels)
