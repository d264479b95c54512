from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations.cli import main
from mlxcel_integrations.cli.ask.command import split_question
from mlxcel_integrations.cli.parser import UsageError
from tests.cli.ask.conftest import MODELS, NOTES, QUESTION, Ask, count_vectors, embedded_texts, pdf
from tests.cli.conftest import CommandLine
from tests.fakes.server import FakeServer, Reply


@pytest.mark.parametrize("options", [[], ["--with", "langchain"], ["--with", "llamaindex"]])
def test_the_answer_comes_with_its_sources(
    options: list[str], ask: Ask, notes: Path, server: FakeServer
) -> None:
    said = ask(notes, *options)

    assert 0 == said.status
    first, *sources = said.out.splitlines()
    assert f"echo: {QUESTION}" == first
    assert f'Source    {notes}, "Notes"' == sources[0]
    assert "Files     1 read, 2 passages\n" in said.err
    assert "first word after" in said.err
    system, human = server.posts[-1].json["messages"]
    assert "The lighthouse is 32 metres tall." in system["content"]
    assert QUESTION == human["content"]


@pytest.mark.parametrize("framework", [None, "langchain", "llamaindex"])
def test_only_the_json_is_on_standard_output(framework: str | None, ask: Ask, notes: Path) -> None:
    said = ask(notes, "--json", *(["--with", framework] if framework else []))

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
    assert f"echo: {QUESTION}" in said.err


# --------------------------------------------------------------------------- the question


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.txt", "How tall is it?"], (["a.txt"], "How tall is it?")),
        (["a.txt", "height of the lighthouse"], (["a.txt"], "height of the lighthouse")),
        (["a.txt", "Why?"], (["a.txt"], "Why?")),
        (["a.txt", "なぜ\uff1f"], (["a.txt"], "なぜ\uff1f")),
        (["a.txt", "x" * 5000 + " y"], (["a.txt"], "x" * 5000 + " y")),
        (["a.txt", "b.txt"], (["a.txt", "b.txt"], None)),
        (["a.txt", "my notes.txt"], (["a.txt", "my notes.txt"], None)),
        (["a.txt"], (["a.txt"], None)),
    ],
)
def test_the_last_argument_is_the_question_if_it_is_no_file(
    names: list[str],
    expected: tuple[list[str], str | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my notes.txt").touch()

    assert expected == split_question(names, None)
    assert (names, "Named?") == split_question(names, "Named?")


@pytest.mark.parametrize(
    ("names", "question", "message"),
    [
        (["a.txt"], "", "The question is empty"),
        (["a.txt"], "  ", "The question is empty"),
        (["a.txt", "  "], None, "The question is empty"),
        (["How tall is it?"], None, r'No file is named: mlxcel-integrations ask FILE "How tall'),
        (["How tall?", "a.txt"], None, "The question comes last: .* ask a.txt 'How tall"),
        (["a.txt", "-"], None, "Standard input is read as a file"),
    ],
)
def test_a_question_that_is_missing_or_misplaced_is_told(
    names: list[str], question: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        split_question(names, question)


@pytest.mark.parametrize("typed", ["", "\n \n"])
def test_without_a_question_nothing_is_started(
    typed: str, ask: Ask, notes: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(typed))

    said = ask(notes, question=None)

    assert (2, "") == (said.status, said.out)
    assert said.err.startswith("There is no question: pass one")
    assert [] == server.requests


def test_each_question_of_standard_input_stands_above_its_answer(
    ask: Ask, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("How tall?\nWho sleeps?\n"))

    said = ask(notes, question=None)

    assert re.fullmatch(
        r"Question  How tall\?\n.*How tall\?\n(Source .*\n)+"
        r"Question  Who sleeps\?\n.*Who sleeps\?\n(Source .*\n)+",
        said.out,
    ), said.out


def test_lines_of_standard_input_are_questions(
    ask: Ask, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("How tall?\n\nWho sleeps?\n"))

    said = ask(notes, "--json", question=None)

    assert ["How tall?", "Who sleeps?"] == [
        json.loads(line)["question"] for line in said.out.splitlines()
    ]


def test_standard_input_is_a_file(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(b"The lighthouse is 32 m tall.")))

    said = ask("-")

    assert "Source    standard input, line 1\n" in said.out


# --------------------------------------------------------------------------- many files


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
    assert 130 == process.returncode
    assert err.endswith("\nStopped.\n")
    assert "Traceback" not in err
    kept = count_vectors(store)
    server.unroute("/v1/embeddings")
    server.requests.clear()

    said = ask(tmp_path / "t.txt", "--embed-all", "--json", question="Number?")

    assert 100 == json.loads(said.out)["embedded_passages"] == count_vectors(store)
    assert 1 + 100 - kept == len(embedded_texts(server))


def test_ten_thousand_files_are_read_and_searched(ask: Ask, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(10_000):
        (folder / f"{number}.txt").write_text(f"The number of this file is {number}.")

    said = ask(folder, "--json", question="Which file has the number 7123?")

    result = json.loads(said.out)
    assert 10_000 == result["passages"]
    assert f"{folder}/7123.txt" == result["sources"][0]["file"]


def test_a_server_that_is_not_there_says_so_once(
    store: Path, notes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 1 == main(["ask", str(notes), "-q", QUESTION, "--base-url", "http://127.0.0.1:9"])

    said = capsys.readouterr().err
    assert 1 == said.count("Cannot reach http://127.0.0.1:9")
    assert "by keywords alone" not in said


def test_a_second_model_is_refused_for_a_running_server(ask: Ask, notes: Path) -> None:
    said = ask(notes, "--embedding-model", "owner/embedder")

    assert 2 == said.status
    assert "--embedding-model is only for a server that this command starts" in said.err


def test_a_large_log_is_read_and_searched(ask: Ask, tmp_path: Path, server: FakeServer) -> None:
    """Its size shows that nothing grows faster than it: an index of all words would take long."""
    server.models = MODELS[:1]
    lines = [f"{n:09d} worker restarted by the scheduler after a timeout\n" for n in range(100_000)]
    lines[70_000] = "The zebra gate was opened by Ingrid Dahl.\n"
    (tmp_path / "large.log").write_text("".join(lines))

    said = ask(tmp_path / "large.log", question="Who opened the zebra gate?")

    place = re.search(r"Source .*, line (\d+)\n", said.out)
    assert place is not None
    assert 69_980 <= int(place[1]) <= 70_001
    assert "zebra gate" in server.posts[-1].json["messages"][0]["content"]


def test_sums_over_tables_are_not_its_job(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "short.csv").write_text("item,price\nbun,3\n")
    rows = "".join(f"boat {number},{number}\n" for number in range(1000))
    (tmp_path / "long.csv").write_text(f"item,price\n{rows}")

    assert "Table " not in ask(tmp_path / "short.csv", question="What is the sum?").err
    told = ask(tmp_path / "long.csv", question="What is the sum of the price of boats?").err
    assert 1 == told.count("Table     the model saw only some rows of ")
    assert "use a spreadsheet" in told


@pytest.mark.engine
def test_the_embedded_engine_answers_from_a_pdf_and_is_kept(
    command_line: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "lighthouse.pdf"
    file.write_bytes(pdf("Cats sleep a lot.", "The lighthouse is 32 metres tall."))
    kept = ("--keep", "20", "--json")

    first = command_line.run("ask", str(file), QUESTION, "--with", "llamaindex", *kept)
    second = command_line.run("ask", str(file), "Do cats sleep a lot?", *kept)

    assert 0 == first.returncode, first.stderr
    result = json.loads(first.stdout)
    assert "32" in result["answer"]
    assert ["page 2"] == [source["place"] for source in result["sources"]]
    assert (2, 2) == (result["passages"], result["embedded_passages"])
    assert ["page 1"] == [source["place"] for source in json.loads(second.stdout)["sources"]]
    address = r"at (unix://\S+)"
    assert re.findall(address, first.stderr) == re.findall(address, second.stderr)
    end_shared_server(command_line)
    assert [] == [path for path in command_line.runtime.rglob("*") if path.is_socket()]


def end_shared_server(command_line: CommandLine) -> None:
    code = (
        "from mlxcel_integrations import ManagedServer\n"
        "for model in ('embedded', 'embedded/all-MiniLM-L6-v2'):\n"
        "    with ManagedServer(model, share='user') as server: server.terminate(); server.wait()"
    )
    subprocess.run([sys.executable, "-c", code], env=command_line.environ, check=True)
