from __future__ import annotations

import time
from io import StringIO

import httpx
import openai
import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.cli.terminal import Terminal, is_self_explanatory, visible


class Screen(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ"),
    [
        (StringIO(), {}),
        (Screen(), {"NO_COLOR": "1"}),
        (Screen(), {"TERM": "dumb"}),
    ],
    ids=["log", "NO_COLOR", "TERM=dumb"],
)
def test_plain_output_has_no_control_characters(stream: StringIO, environ: dict[str, str]) -> None:
    terminal = Terminal(stream, environ)

    terminal.fact("Name", "text")
    with terminal.waiting("Starting", lambda: "detail"):
        time.sleep(0.3)

    assert "Name      text\nStarting ...\n" == stream.getvalue()


def test_a_terminal_has_colours_and_a_line_that_is_removed_at_the_end() -> None:
    screen = Screen()
    terminal = Terminal(screen, {})

    terminal.fact("Name", "text")
    with terminal.waiting("Starting", lambda: "50 %"):
        while "50 %" not in screen.getvalue():
            time.sleep(0.01)

    assert screen.getvalue().startswith(
        "\x1b[36mName      \x1b[0mtext\n\r\x1b[K\x1b[2mStarting ..."
    )
    assert screen.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("red \x1b[31m alert\r\n", r"red \x1b[31m alert" "\n"),
        ("\x1b]0;title\x07 \x9b2J \x08\x7f\x00", r"\x1b]0;title\x07 \x9b2J \x08\x7f\x00"),
        ("100 %\rdone", r"100 %\x0ddone"),
        ("gpj.\u202egnp \u2066x\u2069 \u2028", r"gpj.\u202egnp \u2066x\u2069 \u2028"),
        ("name \udcff", r"name \udcff"),
        ("a\u2060b\ufeff", r"a\u2060b\ufeff"),
        ("one\n\ttwo\n", "one\n\ttwo\n"),
        ("früh 日本 👩\u200d🔬", "früh 日本 👩\u200d🔬"),
    ],
    ids=[
        "colour",
        "C0 and C1",
        "carriage return",
        "order",
        "bad bytes",
        "invisible",
        "lines",
        "other scripts",
    ],
)
def test_control_characters_are_visible(text: str, expected: str) -> None:
    assert expected == visible(text)


def test_everything_that_is_printed_is_visible() -> None:
    screen = Screen()
    terminal = Terminal(screen, {})

    terminal.line("a\x1b[2J")
    terminal.piece("b\x1b[2J", "bold")
    terminal.label("c\x1b[2J")
    terminal.fact("d", "e\x1b[2J\nf")
    with terminal.waiting("Starting", lambda: "g\x1b[2J\nh"):
        while "h" not in screen.getvalue():
            time.sleep(0.01)

    assert "\x1b[2J" not in screen.getvalue()
    for letter in "abceg":
        assert rf"{letter}\x1b[2J" in screen.getvalue()
    assert "e\\x1b[2J\n          f\n" in screen.getvalue()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MlxcelError("no server"), True),
        (openai.APIConnectionError(request=httpx.Request("GET", "http://x")), True),
        (ValueError("a bug"), False),
    ],
)
def test_only_our_errors_and_those_of_openai_need_no_traceback(
    error: Exception, expected: bool
) -> None:
    assert expected == is_self_explanatory(error)
