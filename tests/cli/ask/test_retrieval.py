from __future__ import annotations

import json
import math
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations import LLM
from mlxcel_integrations.cli.ask.passages import Passage
from mlxcel_integrations.cli.ask.retrieval import Countdown, Retrieval
from mlxcel_integrations.cli.ask.store import Store
from mlxcel_integrations.cli.terminal import Terminal
from tests.cli.ask.conftest import MODELS, QUESTION, Ask, embedded_texts
from tests.fakes.server import FakeServer, Reply
from tests.fakes.vectors import vector


def test_passages_beyond_the_time_limit_are_left_for_the_next_question(
    store: Path, server: FakeServer
) -> None:
    texts = [f"filler {number}" for number in range(50)] + ["zebra"]
    passages = [Passage("t.txt", "line 1", text) for text in texts]
    log = StringIO()
    with LLM(base_url=server.url) as llm, closing(Store(store)) as kept:
        retrieval = Retrieval(Terminal(log), passages, llm, kept)
        retrieval.prepare("zebra?", 0.0)
        assert 0 == retrieval.embedded
        assert [passages[-1]] == retrieval.find("zebra?", 1)
        retrieval.prepare("zebra!", math.inf)

    assert "51 left for the next question (time unknown; ask --embed-all" in log.getvalue()
    assert ["zebra?", "zebra!", "zebra", *texts[:-1]] == embedded_texts(server)


def test_vectors_of_another_length_are_replaced(
    ask: Ask, notes: Path, server: FakeServer, store: Path
) -> None:
    ask(notes)
    shorter = [{"index": 0, "embedding": vector(QUESTION, 4)}]
    server.route("/v1/embeddings", Reply.json({"data": shorter}))

    said = ask(notes)

    assert "the model's vectors have changed size" in said.err
    server.unroute("/v1/embeddings")
    server.requests.clear()
    assert 2 == json.loads(ask(notes, "--json").out)["embedded_passages"]
    assert 3 == len(embedded_texts(server))


@pytest.mark.parametrize("models", [MODELS[:1], None], ids=["no capability", "501"])
def test_keywords_alone_decide_without_embeddings(
    models: Any, ask: Ask, notes: Path, server: FakeServer
) -> None:
    server.models = models

    said = ask(notes, "--json")

    assert 0 == said.status
    assert "Search    by keywords alone. " in said.err
    assert "--embedding-model" in said.err
    result = json.loads(said.out)
    assert None is result["embedded_passages"]
    assert ['"Notes"'] == [source["place"] for source in result["sources"]]


@pytest.mark.parametrize("framework", [[], ["--with", "langchain"], ["--with", "llamaindex"]])
def test_the_model_sees_the_beginning_if_keywords_find_nothing(
    framework: list[str], ask: Ask, notes: Path, server: FakeServer
) -> None:
    server.models = MODELS[:1]

    said = ask(notes, *framework, question="Was steht da?")

    assert "no passage shares a word with the question" in said.err
    assert "The lighthouse is 32 metres tall." in server.posts[-1].json["messages"][0]["content"]
    assert f'Source    {notes}, "Notes"' in said.out


def test_passages_are_found_without_a_word_in_common(
    ask: Ask, tmp_path: Path, server: FakeServer
) -> None:
    (tmp_path / "t.txt").write_text("\n\n".join(f"{n} {'filler ' * 60}" for n in range(20)))

    assert 0 == ask(tmp_path / "t.txt", question="zebra").status

    assert "filler" in server.posts[-1].json["messages"][0]["content"]


def test_the_countdown_estimates_the_rest() -> None:
    countdown = Countdown(3)
    assert "0 done, 3 to go, time unknown" == countdown.text

    countdown.count(2)

    assert (2, 1) == (countdown.done, countdown.remaining)
    assert "2 done, 1 to go, about 0 s" == countdown.text
