from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from mlxcel_integrations import __version__
from mlxcel_integrations.cli import main
from mlxcel_integrations.cli.parser import make_parser


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ask", "--question", "x"], "FILE"),
        (["serve", "--port", "http"], "'http' is not a number from 0 to 65535"),
        (["serve", "--ctx-size", "4k"], "'4k' is not a number of tokens"),
        (["serve", "--port", "99999"], "'99999' is not a number from 0 to 65535"),
        (["ask", "f", "--question", "x", "--with", "haystack"], "invalid choice"),
        (["ask", "f", "--question", "x", "--model", "m", "--base-url", "u"], "not allowed with"),
        (["doctor", "--socket", "/x.sock", "--model", "m"], "not allowed with"),
        (["sing"], "invalid choice"),
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


def test_help_is_printed_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main([])

    out, err = capsys.readouterr()
    assert "" == err
    for command in commands():
        assert f"    {command} " in out


def test_a_traceback_shows_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> bool:
        raise RuntimeError("unforeseen \x1b[2J")

    monkeypatch.setattr(sys.stdin, "isatty", fail, raising=False)

    assert 1 == main(["ask", "notes.txt"])
    assert r"RuntimeError: unforeseen \x1b[2J" in capsys.readouterr().err


@pytest.mark.parametrize("command", [*make_parser().commands])
def test_each_command_runs_its_own_function(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = {"ask": "ask.command"}.get(command, command)
    monkeypatch.setattr(f"mlxcel_integrations.cli.{module}.run_{command}", lambda *_, **__: 7)
    arguments = {"ask": ["notes.txt", "Why?"]}.get(command, [])

    assert 7 == main([command, *arguments])


def test_the_package_runs_as_a_module() -> None:
    argv = [sys.executable, "-m", "mlxcel_integrations", "--version"]
    done = subprocess.run(argv, capture_output=True, text=True)

    assert (0, f"mlxcel-integrations {__version__}\n") == (done.returncode, done.stdout)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full device")
def test_a_full_disk_is_told_in_one_line() -> None:
    argv = [sys.executable, "-m", "mlxcel_integrations", "doctor"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True)

    assert 1 == done.returncode
    assert "The output cannot be written: the disk is full. Make room" in done.stderr
    assert 1 == done.stderr.count("\n")


# --------------------------------------------------------------------------- the page

PAGE = (Path(__file__).parents[2] / "docs/cli.md").read_text()


SECTIONS = {
    "ask": PAGE.partition("## Ask your own files\n")[2],
    "chat": PAGE.partition("## Chat\n")[2],
    "serve": PAGE.partition("## Serve a model\n")[2],
}


def commands() -> Mapping[str, argparse.ArgumentParser]:
    return make_parser().commands


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings} - {"-h", "--help"}


def test_the_page_has_a_row_for_each_command() -> None:
    listed = re.findall(r"^\| `mlxcel-integrations (\w+)` \|", PAGE, re.MULTILINE)

    assert sorted(commands()) == sorted(listed)


@pytest.mark.parametrize("command", ["ask", "chat", "serve"])
def test_the_page_has_a_row_for_each_option(command: str) -> None:
    section = SECTIONS[command].partition("\n## ")[0]
    listed = re.findall(r"^\| (`-[^|]+`) \|", section, re.MULTILINE)
    names = {name for cell in listed for name in re.findall(r"--?[\w-]+", cell)}

    assert options(commands()[command]) == names


@pytest.mark.parametrize("command", ["demo", "doctor", "models"])
def test_the_page_names_the_options_of_the_other_commands(command: str) -> None:
    section = PAGE.partition(f"mlxcel-integrations {command}`")[2]

    assert {name for name in options(commands()[command]) if name not in section} == set()
