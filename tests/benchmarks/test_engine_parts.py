"""The parts that ask the embedded engine run, with prompts that are short enough for a test."""

from __future__ import annotations

import pytest

from tests.benchmarks import conversations, first_signs, guessing, restarts
from tests.benchmarks.one_token import OURS
from tests.embedded import measure_guessing
from tests.embedded.measure_guessing import WORK

pytestmark = [
    pytest.mark.engine,
    # The clients of the benchmarks live until the program ends.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (restarts, first_signs):
        monkeypatch.setattr(module, "LONG", 10)
    monkeypatch.setattr(conversations, "ENTRIES", 5)
    monkeypatch.setattr(conversations, "TURNS", 2)
    monkeypatch.setattr(guessing, "WORK", {"quotes": WORK["quotes"][:1]})
    monkeypatch.setattr(measure_guessing, "ROUNDS", 1)


def test_kept_prompts_are_restored_for_us_and_the_first_sign_comes_early() -> None:
    for measure in (restarts.restarts, first_signs.first_signs):
        took = measure(1, False)

        assert {"httpx and json", *OURS} == took.keys()
        assert max(took[name] for name in OURS) < took["httpx and json"]


def test_each_client_reuses_most_of_what_it_has_sent() -> None:
    parts = conversations.conversations(1, False)

    assert {"httpx and json", *OURS} == parts.keys()
    assert 0.8 <= min(parts.values()) <= max(parts.values()) <= 1


def test_guessing_is_compared_with_the_same_answers_without() -> None:
    took = guessing.guessing(1, False)

    assert [guessing.PLAIN.format("quotes"), guessing.GUESSING.format("quotes")] == [*took]
    assert min(took.values()) > 0
