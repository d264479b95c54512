from __future__ import annotations

import time
from io import StringIO

import httpx
import openai
import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.cli.terminal import Terminal, is_self_explanatory


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


def test_control_characters_of_others_are_removed() -> None:
    log = StringIO()

    Terminal(log).piece("red \x1b[31m alert\r\n")

    assert "red [31m alert\n" == log.getvalue()


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
