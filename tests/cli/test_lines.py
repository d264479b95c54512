"""Lines at a prompt, in a real pseudo-terminal, and from standard input."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
from collections.abc import Iterator
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.cli.lines import answer_lines, read_lines
from mlxcel_integrations.cli.terminal import Terminal
from tests.cli.conftest import CommandLine
from tests.fakes.server import FakeServer, Reply


def test_lines_of_standard_input_are_answered_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(b"one\n\n  two\xff \nthree")))
    log, lines = StringIO(), list[str]()

    answer_lines(read_lines(Terminal(log)), Terminal(log), "ask", lines.append)

    assert ["one", "two\ufffd", "three"] == lines
    assert "" == log.getvalue()


@pytest.mark.parametrize("error", [MlxcelError("no"), KeyboardInterrupt()], ids=repr)
def test_without_a_prompt_an_error_ends_them(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO())

    def fail(line: str) -> None:
        raise error

    with pytest.raises(type(error)):
        answer_lines(iter(["one", "two"]), Terminal(StringIO()), "ask", fail)


class Prompt:
    """A program in a pseudo-terminal."""

    def __init__(self, argv: list[str], environ: dict[str, str]) -> None:
        self._side, child = pty.openpty()
        self.process = subprocess.Popen(
            argv,
            stdin=child,
            stdout=child,
            stderr=child,
            # Ctrl-C reaches only the session whose terminal this is.
            preexec_fn=lambda: _own_terminal(child),
            env={**environ, "TERM": "dumb"},
        )
        os.close(child)
        self._text = ""

    def read_to(self, end: str) -> str:
        """Return what is shown up to a text, since the last call."""
        while end not in self._text:
            self._text += os.read(self._side, 65536).decode().replace("\r\n", "\n")
        text, _, self._text = self._text.partition(end)
        return text + end

    def type(self, text: str) -> None:
        os.write(self._side, text.encode())

    def interrupt(self) -> int:
        """Press Ctrl-C, and return the exit status.

        Python's readline does not see a signal that arrives between the prompt and its wait for a
        key, so the key is pressed again, as a user would.
        """
        for _ in range(10):
            self.type("\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(3)
        raise AssertionError("Ctrl-C does not end it.")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._side)


def _own_terminal(child: int) -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(child, termios.TIOCSCTTY, 0)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def test_a_conversation_at_a_prompt_goes_on_after_a_stop_and_an_error(
    command_line: CommandLine, server: FakeServer, tmp_path: Path
) -> None:
    """An answer, a file, an answer that is stopped, an error, and the end."""
    (tmp_path / "notes.txt").write_text("The lighthouse is 32 metres tall.")
    server.script(
        Reply.text("Hello \x1b[31m there."),
        Reply.text("one two three", delay=30),
    )
    argv = [*command_line.argv, "chat", "--base-url", server.url]
    prompt = Prompt(argv, command_line.environ)
    try:
        assert "Type a message, or /help.\n" in prompt.read_to("> ")
        prompt.type("Hi!\n")
        assert "Hello \\x1b[31m there.\n" in prompt.read_to("\n> ")
        prompt.type("Count.\n")
        prompt.read_to("one")
        prompt.type("\x03")
        assert "(stopped)" in prompt.read_to("\n> ")
        server.script(Reply.error(400, "too \x1b[2J long"))
        prompt.type("Fail!\n")
        assert "too \\x1b[2J long" in prompt.read_to("\n> ")
        prompt.type(f"How tall, says @{tmp_path}/notes.txt?\n")
        assert "32 metres" in prompt.read_to("\n> ")
        prompt.type("\x04")
        assert 0 == prompt.process.wait(20)
    finally:
        prompt.close()


def test_questions_at_a_prompt_are_about_the_same_files(
    command_line: CommandLine, server: FakeServer, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("The lighthouse is 32 metres tall.")
    argv = [*command_line.argv, "ask", str(tmp_path / "notes.txt"), "--base-url", server.url]
    prompt = Prompt(argv, command_line.environ)
    try:
        prompt.read_to("> ")
        for question in ("How tall?", "Where is it?"):
            prompt.type(f"{question}\n")
            shown = prompt.read_to("\n> ")
            assert f"echo: {question}\n" in shown
            assert "notes.txt, line 1\n" in shown
            assert "Reading" not in shown
        assert 130 == prompt.interrupt()
    finally:
        prompt.close()
