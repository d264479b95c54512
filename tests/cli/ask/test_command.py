from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.ask.conftest import NOTES, QUESTION, Ask, count_vectors, embedded_texts, pdf
from tests.cli.conftest import CommandLine
from tests.fakes.server import FakeServer, Reply


@pytest.mark.parametrize("framework", ["langchain", "llamaindex"])
def test_the_answer_comes_with_its_sources(
    framework: str, ask: Ask, notes: Path, server: FakeServer
) -> None:
    said = ask(notes, "--with", framework)

    assert (0, "") == (said.status, said.err)
    assert "Files     1 read, 2 passages\n" in said.out
    assert f'Source    {notes}, "Notes"\n' in said.out
    assert f"Answer    echo: {QUESTION}\n" in said.out
    assert "tokens/s" in said.out
    system, human = server.posts[-1].json["messages"]
    assert "The lighthouse is 32 metres tall." in system["content"]
    assert QUESTION == human["content"]


@pytest.mark.parametrize("framework", ["langchain", "llamaindex"])
def test_only_the_json_is_on_standard_output(framework: str, ask: Ask, notes: Path) -> None:
    said = ask(notes, "--json", "--with", framework)

    result: dict[str, Any] = json.loads(said.out)
    assert f"echo: {QUESTION}" == result["answer"]
    first = {"file": str(notes), "place": '"Notes"', "text": NOTES.partition("\n\n##")[0]}
    assert first in result["sources"]
    assert (QUESTION, framework, "chat") == (
        result["question"],
        result["framework"],
        result["model"],
    )
    assert (2, 2, []) == (result["passages"], result["embedded_passages"], result["left_out"])
    assert result["output_tokens"] > 1
    assert "Answer    echo" in said.err


def test_the_second_question_embeds_only_itself(ask: Ask, notes: Path, server: FakeServer) -> None:
    ask(notes)
    server.requests.clear()
    notes.rename(notes.with_name("renamed.md"))

    ask(notes.with_name("renamed.md"), question="Another?")

    assert ["Another?"] == embedded_texts(server)


def test_an_interrupted_run_is_continued(
    command_line: CommandLine, ask: Ask, store: Path, tmp_path: Path, server: FakeServer
) -> None:
    """What was embedded before Ctrl-C is not sent again, and nothing else is missing."""
    text = "\n\n".join(f"Number {n} {'filler ' * 60}" for n in range(100))
    (tmp_path / "t.txt").write_text(text)
    arguments = ("ask", str(tmp_path / "t.txt"), "--question", "Number?", "--embed-all")
    process = command_line.start(
        *arguments, "--base-url", server.url, XDG_CACHE_HOME=str(store.parents[1])
    )
    # One batch must be done before the next one hangs.
    while not count_vectors(store):
        assert process.poll() is None
    server.route("/v1/embeddings", Reply(action="hang"))
    asked = len(embedded_texts(server))
    while process.poll() is None and len(embedded_texts(server)) == asked < 101:
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (130, "\nStopped.\n") == (process.returncode, err)
    kept = count_vectors(store)
    server.unroute("/v1/embeddings")
    server.requests.clear()

    said = ask(tmp_path / "t.txt", "--embed-all", "--json", question="Number?")

    assert 100 == json.loads(said.out)["embedded_passages"] == count_vectors(store)
    assert 1 + 100 - kept == len(embedded_texts(server))


def test_ten_thousand_files(ask: Ask, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(10_000):
        (folder / f"{number}.txt").write_text(f"The number of this file is {number}.")

    said = ask(folder, "--json", question="Which file has the number 7123?")

    result = json.loads(said.out)
    assert 10_000 == result["passages"]
    assert f"{folder}/7123.txt" == result["sources"][0]["file"]


@pytest.mark.parametrize("question", ["", "  "])
def test_an_empty_question_is_refused(question: str, ask: Ask, notes: Path) -> None:
    said = ask(notes, question=question)

    assert (1, "") == (said.status, said.out)
    assert "The question is empty" in said.err


def test_a_second_model_is_refused_for_a_running_server(ask: Ask, notes: Path) -> None:
    said = ask(notes, "--embedding-model", "owner/embedder")

    assert 1 == said.status
    assert "--embedding-model is only for a server that this command starts" in said.err


@pytest.mark.engine
def test_the_embedded_engine_answers_from_a_pdf(command_line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "lighthouse.pdf"
    file.write_bytes(pdf("Cats sleep a lot.", "The lighthouse is 32 metres tall."))

    done = command_line.run(
        "ask", str(file), "--question", QUESTION, "--with", "llamaindex", "--json"
    )

    assert 0 == done.returncode, done.stderr
    result = json.loads(done.stdout)
    assert "32" in result["answer"]
    assert ["page 2"] == [source["place"] for source in result["sources"]]
    # Its slow model embeds only passages that share words with the question.
    assert (2, 1) == (result["passages"], result["embedded_passages"])
    assert [] == list(command_line.runtime.iterdir())
