"""Counting on the embedded engine: right, and many texts at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxcel_integrations import LLM
from tests.benchmarks.tokens import AT_ONCE, ONE_BY_ONE, counting

pytestmark = pytest.mark.engine

WORDS = ["Hello", " ", "\n\n", "Grüße", "안녕", "🎉", "<eos>", "<b>", "[multimodal]", "\t"]
TEXTS = st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=8).map("".join)


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM(model="embedded") as model:
        yield model


@settings(max_examples=15, deadline=None)
@given(texts=st.lists(TEXTS, max_size=12))
def test_the_counts_of_many_are_those_of_each(llm: LLM, texts: list[str]) -> None:
    assert [len(llm.tokenize(text)) for text in texts] == llm.count_tokens(texts)
    assert llm._connection.tokens.batches in (True, None)


def test_many_texts_at_once_are_several_times_faster() -> None:
    seconds = counting(rounds=3, count=500)

    assert seconds[ONE_BY_ONE] > 4 * seconds[AT_ONCE]
