from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxcel_integrations.cli import main
from mlxcel_integrations.cli.ask.keyword_search import KeywordIndex
from mlxcel_integrations.cli.ask.passages import cut_markdown, documentation_passages
from mlxcel_integrations.cli.demo import QUESTIONS
from tests.cli.conftest import ROOT, CommandLine
from tests.fakes.program import executable
from tests.fakes.server import FakeServer, Reply
from tests.supervisor.conftest import runs

ANSWERS = ("mlxcel-integrations doctor", "Gemma 3 270M")


def is_plain(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


@pytest.fixture
def fake(tmp_path: Path) -> dict[str, str]:
    """An environment in which the demo runs on the fake binary."""
    pids = str(tmp_path / "pids")
    return {
        "MLXCEL_BIN": str(executable(tmp_path, FAKE_PIDFILE=pids)),
        "MLXCEL_MODEL": "owner/name",
    }


Demo = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def demo(cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Demo:
    """Run the demo here: a process of its own would import LangChain first."""

    def run(**environ: str) -> subprocess.CompletedProcess[str]:
        for name in [name for name in os.environ if name.startswith("MLXCEL_")]:
            monkeypatch.delenv(name)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        status = main(["demo"])
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess("demo", status, out, err)

    return run


@pytest.mark.engine
def test_embedded_engine_answers_both_questions(command_line: CommandLine) -> None:
    done = command_line.run("demo")
    assert (0, "") == (done.returncode, done.stderr)
    said = re.findall(r"^Answer +(.+)$", done.stdout, re.MULTILINE)
    assert len(ANSWERS) == len(said)
    for expected, answer in zip(ANSWERS, said, strict=True):
        assert expected in answer
    assert "none of MLXCEL_BASE_URL, MLXCEL_SOCKET, MLXCEL_MODEL is set" in done.stdout
    assert 2 == len(re.findall(r"^Source +docs/", done.stdout, re.MULTILINE))
    assert 2 == len(re.findall(r"first word after [\d.]+ s", done.stdout))
    assert is_plain(done.stdout)
    assert [] == list(command_line.runtime.iterdir())


@pytest.mark.engine
def test_both_answers_are_in_the_readme_alone_which_an_installed_package_has(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    passages = cut_markdown("README.md", (ROOT / "README.md").read_text())
    monkeypatch.setattr("mlxcel_integrations.cli.demo.documentation_passages", lambda: passages)

    shown = demo().stdout

    said = re.findall(r"^Answer +(.+)$", shown, re.MULTILINE)
    assert [True, True] == [
        expected in answer for expected, answer in zip(ANSWERS, said, strict=True)
    ], said
    assert f"1 Markdown page, {len(passages)} passages" in shown


def test_named_binary_and_model_are_used(
    command_line: CommandLine, fake: dict[str, str], tmp_path: Path
) -> None:
    done = command_line.run("demo", **fake)
    assert (0, "") == (done.returncode, done.stderr)
    assert f"mlxcel at {fake['MLXCEL_BIN']} (MLXCEL_BIN names it)" in done.stdout
    assert "owner/name (from MLXCEL_MODEL)" in done.stdout
    assert "Starting the server ...\n" in done.stdout
    for question in QUESTIONS:
        assert f"echo: {question}" in done.stdout
    assert is_plain(done.stdout)
    assert [] == list(command_line.runtime.iterdir())
    assert not runs(json.loads((tmp_path / "pids").read_text())["pid"])


@pytest.mark.parametrize("variable", ["MLXCEL_BASE_URL", "MLXCEL_SOCKET"])
def test_running_server_is_used(command_line: CommandLine, demo: Demo, variable: str) -> None:
    socket = command_line.runtime / "own.sock" if variable == "MLXCEL_SOCKET" else None
    with FakeServer(socket=socket) as server:
        done = demo(**{variable: str(socket or server.url)})
    assert 0 == done.returncode
    assert f"the running server at {server.url} (from {variable})" in done.stdout
    assert "Starting the server" not in done.stdout


def test_answer_cannot_steer_the_terminal(demo: Demo) -> None:
    with FakeServer() as server:
        server.script(Reply.text("red \x1b[31m alert"))
        done = demo(MLXCEL_BASE_URL=server.url)
    assert r"red \x1b[31m alert" in done.stdout
    assert is_plain(done.stdout)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        pytest.param({"MLXCEL_SOCKET": "/nowhere.sock"}, "Cannot reach", id="dead server"),
        pytest.param({"MLXCEL_BASE_URL": "nowhere"}, "is not an address", id="no address"),
        pytest.param(
            {"MLXCEL_MODEL": "owner/name", "MLXCEL_BIN": "/nowhere"}, "does not exist", id="binary"
        ),
        pytest.param({"MLXCEL_MODEL": "owner/name", "PATH": "/"}, "no mlxcel", id="no binary"),
    ],
)
def test_error_is_one_message(demo: Demo, environ: dict[str, str], message: str) -> None:
    done = demo(**environ)
    assert 1 == done.returncode
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_error_of_a_server_that_fails_shows_its_words(
    command_line: CommandLine, tmp_path: Path
) -> None:
    binary = executable(tmp_path, FAKE_FAIL="unsupported quantization")
    done = command_line.run("demo", MLXCEL_BIN=str(binary), MLXCEL_MODEL="owner/name")
    assert 1 == done.returncode
    assert "unsupported quantization" in done.stderr
    assert "Traceback" not in done.stderr
    assert [] == list(command_line.runtime.iterdir())


def test_interrupt_stops_the_server(
    command_line: CommandLine, fake: dict[str, str], tmp_path: Path
) -> None:
    executable(tmp_path, FAKE_PIDFILE=str(tmp_path / "pids"), FAKE_LOAD_SECONDS="60")
    process = command_line.start("demo", **fake)
    assert process.stdout is not None
    while "Starting" not in process.stdout.readline():
        assert process.poll() is None
    while not (tmp_path / "pids").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (130, "\nStopped.\n") == (process.returncode, err)
    assert [] == list(command_line.runtime.iterdir())
    assert not runs(json.loads((tmp_path / "pids").read_text())["pid"])


def test_interrupt_in_an_answer_is_quiet(command_line: CommandLine) -> None:
    with FakeServer() as server:
        server.script(Reply.text("one two three four", delay=30))
        process = command_line.start("demo", MLXCEL_BASE_URL=server.url)
        assert process.stdout is not None
        said = ""
        while "Answer    one" not in said:
            said += process.stdout.read(1)
            assert process.poll() is None
        # The interrupt should come while it waits for the next word.
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert server.wait_disconnect(5)
    assert (130, "\nStopped.\n") == (process.returncode, err)


def test_closed_pipe_is_quiet(command_line: CommandLine, fake: dict[str, str]) -> None:
    with command_line.start("demo", **fake) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert "" == process.stderr.read()
    assert [] == list(command_line.runtime.iterdir())


def in_terminal(command_line: CommandLine, **environ: str) -> str:
    """Run the demo in a pseudo-terminal and return all that it wrote there."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*command_line.argv, "demo"],
        stdin=child,
        stdout=child,
        stderr=child,
        env={**command_line.environ, "TERM": "xterm", **environ},
    )
    os.close(child)
    written = b""
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # Linux raises this when the other side is closed.
            break
        if not piece:
            break
        written += piece
    os.close(parent)
    assert 0 == process.wait(20)
    return written.decode().replace("\r\n", "\n")


def test_terminal_gets_one_progress_line_that_is_rewritten(
    command_line: CommandLine, fake: dict[str, str], tmp_path: Path
) -> None:
    executable(tmp_path, FAKE_LOAD_SECONDS="1.2")
    written = in_terminal(command_line, **fake, COLUMNS="120")
    progress = re.findall(r"\r\x1b\[K\x1b\[2mStarting the server \.\.\. [\d.]+ s[^\n]*", written)
    assert 1 == len(progress)
    assert progress[0].count("\r\x1b[K") > 5
    assert "[1/3] done: config.json" in progress[0]
    assert "\x1b[36mServer" in progress[0].rpartition("\r\x1b[K")[2]


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_terminal_can_be_plain(
    command_line: CommandLine, fake: dict[str, str], plain: dict[str, str]
) -> None:
    assert is_plain(in_terminal(command_line, **fake, **plain))


@pytest.mark.parametrize("corpus", ["docs", "README"])
def test_passages_found_contain_the_answers(corpus: str) -> None:
    """The README is what an installed wheel has instead of the pages."""
    readme = (ROOT / "README.md").read_text("utf-8")
    passages = documentation_passages() if corpus == "docs" else cut_markdown("README.md", readme)
    keywords = KeywordIndex([passage.text for passage in passages])
    for question, answer in zip(QUESTIONS, ANSWERS, strict=True):
        found = keywords.rank(question, 2)
        assert any(answer in passages[index].text for index in found)
