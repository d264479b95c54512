from __future__ import annotations

import argparse
import re
from argparse import _SubParsersAction
from pathlib import Path

import pytest

from mlxcel_integrations import __version__
from mlxcel_integrations.cli import _parser, main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ask", "notes.md"], "--question"),
        (["ask", "--question", "x"], "FILE"),
        (["ask", "f", "--question", "x", "--with", "haystack"], "invalid choice"),
        (["ask", "f", "--question", "x", "--model", "m", "--base-url", "u"], "not allowed with"),
        (["doctor", "--socket", "/x.sock", "--model", "m"], "not allowed with"),
        ([], "COMMAND"),
    ],
)
def test_a_wrong_command_line_is_rejected(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert 2 == caught.value.code
    assert message in capsys.readouterr().err


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert 0 == caught.value.code
    assert f"mlxcel-integrations {__version__}\n" == capsys.readouterr().out


# --------------------------------------------------------------------------- the page

PAGE = (Path(__file__).parents[2] / "docs/cli.md").read_text()


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = [each for each in _parser()._actions if isinstance(each, _SubParsersAction)]
    return dict(action.choices)


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings} - {"-h", "--help"}


def test_the_page_has_a_row_for_each_command() -> None:
    listed = re.findall(r"^\| `mlxcel-integrations (\w+)` \|", PAGE, re.MULTILINE)

    assert sorted(commands()) == sorted(listed)


def test_the_page_has_a_row_for_each_option_of_ask() -> None:
    listed = re.findall(r"^\| `(--[\w-]+)` \|", PAGE, re.MULTILINE)

    assert sorted(options(commands()["ask"])) == sorted(listed)


@pytest.mark.parametrize("command", ["demo", "doctor", "models"])
def test_the_page_names_the_options_of_the_other_commands(command: str) -> None:
    section = PAGE.partition(f"mlxcel-integrations {command}`")[2]

    assert {name for name in options(commands()[command]) if name not in section} == set()
