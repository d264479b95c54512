"""The engine goes on with a prompt that was read before its restart, and answers the same."""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations import LLM
from mlxcel_integrations.supervisor.slots import Slots

from .engine import cache_with_models, serving
from .texts import log_book

pytestmark = pytest.mark.engine

LEAST_REUSED = 0.95

MOST_OF_COLD = 0.05
"""Tokens that are read after a restart, of those of the prompt."""

PROMPTS = 100


def chat(book: str, question: str) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": f"You read log books. {book}"},
        {"role": "user", "content": question},
    ]


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where prompts are kept, beside the models that are there already."""
    cache = cache_with_models(tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache / "prompts"


def files(prompts: Path) -> list[Path]:
    return [path for path in prompts.rglob("*") if path.is_file()]


def reused(llm: LLM, messages: Any, **fields: Any) -> tuple[float, str]:
    """Return the part of a prompt that the engine had in a slot, and its answer."""
    reply = llm.complete_chat(messages, max_tokens=8, temperature=0, **fields)
    usage: Any = reply.usage
    return usage["prompt_tokens_details"]["cached_tokens"] / usage["prompt_tokens"], reply.text


def test_a_prompt_is_read_once_though_the_server_is_restarted(prompts: Path) -> None:
    book = f"{log_book(30)} The captain of the ship is called Anna."
    messages = chat(book, "What is the captain called?")
    with LLM("embedded", keep_prompts=True) as llm:
        first, cold = reused(llm, messages)
    with LLM("embedded", keep_prompts=True) as llm:
        second, warm = reused(llm, messages)
        other, _ = reused(llm, chat(book, "How many crates on day 9?"))

    assert 0 == first
    assert 1 - MOST_OF_COLD <= min(second, other)
    assert cold == warm
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in files(prompts)}
    assert {0o700} == {stat.S_IMODE(path.stat().st_mode) for path in (prompts, *prompts.iterdir())}


def test_what_is_read_ahead_is_there_after_a_restart(prompts: Path) -> None:
    system, _ = messages = chat(log_book(30), "Which port on day 3?")
    costs = []
    for _ in range(2):
        with LLM("embedded", keep_prompts=True) as llm:
            costs.append(llm.warm([system]))
    with LLM("embedded", keep_prompts=True) as llm:
        part, _ = reused(llm, messages)

    cold, warm = costs
    assert 0 == cold.tokens_reused
    assert cold.tokens_read == warm.tokens_read + warm.tokens_reused
    assert warm.tokens_read <= MOST_OF_COLD * cold.tokens_read
    assert LEAST_REUSED <= part


def test_only_servers_that_are_told_to_keep_prompts(prompts: Path) -> None:
    with LLM("embedded") as llm:
        llm.chat("Hello!", max_tokens=1)

    assert not prompts.exists()


def test_a_shared_server_keeps_its_prompts_when_its_broker_ends_it(
    prompts: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    with LLM("embedded", keep_prompts=True, share="user", keep_alive=0) as llm:
        llm.chat("Hello!", max_tokens=1)

    assert 1 == len(files(prompts))


def test_what_was_damaged_is_read_again(prompts: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mlxcel.prompts")
    messages = chat(log_book(10), "Which port on day 3?")
    with LLM("embedded", keep_prompts=True) as llm:
        _, cold = reused(llm, messages)
    (file,) = files(prompts)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with LLM("embedded", keep_prompts=True) as llm:
        again, answer = reused(llm, messages)

    assert (0, cold) == (again, answer)
    assert f"{file} is damaged, and was removed." in caplog.messages


def test_a_conversation_is_kept_while_another_goes_on(prompts: Path) -> None:
    books = [log_book(20), log_book(20, port=5)]
    with LLM("embedded", keep_prompts=True) as llm:
        for book in books:
            reused(llm, chat(book, "Which port on day 3?"))
    for _ in range(2):
        with LLM("embedded", keep_prompts=True) as llm:
            reused(llm, chat(books[0], "Which port on day 4?"))
    with LLM("embedded", keep_prompts=True) as llm:
        part, _ = reused(llm, chat(books[1], "Which port on day 5?"))

    assert LEAST_REUSED <= part


def test_a_new_conversation_takes_the_place_of_the_oldest(prompts: Path) -> None:
    chats = [chat(log_book(8, port), "Which port on day 3?") for port in (7, 5, 3)]
    for asked in (chats[:2], chats[2:]):
        with LLM("embedded", keep_prompts=True) as llm:
            for messages in asked:
                reused(llm, messages)
    with LLM("embedded", keep_prompts=True) as llm:
        part, _ = reused(llm, chats[1])

    assert LEAST_REUSED <= part


# --------------------------------------------------------------------------- many prompts


NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Ida", "Jack")
PLACES = ("harbour", "castle", "garden", "kitchen", "library")


def questions() -> Iterator[list[dict[str, str]]]:
    """Yield questions whose answers leave no doubt.

    Where two tokens are about equally likely, the shape of a batch decides, on a server that was
    not restarted as well.
    """
    for at in range(PROMPTS):
        name, place = NAMES[at % 10], PLACES[at // 20]
        notes = f"Note {at + 1}. {name} lives in the {place}. {NAMES[at % 9]} has no house."
        yield chat(notes, f"Where does {name} live?")


@pytest.mark.timeout(900)
def test_a_hundred_prompts_are_answered_the_same_warm_and_cold(place: Path, tmp_path: Path) -> None:
    given = ("-m", "embedded", "--slot-save-path", str(tmp_path), "--n-parallel", "1")
    answers: dict[str, list[str]] = {"cold": [], "warm": []}
    parts: dict[str, list[float]] = {"cold": [], "warm": []}
    for run in answers:
        socket = place / f"{run}.sock"
        with serving(socket, *given), LLM(socket=socket) as llm:
            slots = Slots("http://engine", str(socket), "", 900)
            for at, messages in enumerate(questions()):
                if run == "warm":
                    slots.restore(0, f"{at}.slot")
                part, answer = reused(llm, messages, cache_prompt=run == "warm")
                parts[run].append(part)
                answers[run].append(answer)
                if run == "cold":
                    slots.save(0, f"{at}.slot")

    assert {0} == set(parts["cold"])
    assert 0.8 <= min(parts["warm"])
    assert answers["cold"] == answers["warm"]
