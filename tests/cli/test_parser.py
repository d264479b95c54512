from __future__ import annotations

import pytest

from mlxcel_integrations.cli.parser import make_parser, parse_arguments


def test_a_question_may_stand_before_the_files_or_behind_them() -> None:
    behind = make_parser().parse_args(["ask", "a.txt", "b.txt", "-q", "Why?"])
    before = make_parser().parse_args(["ask", "-q", "Why?", "a.txt", "b.txt"])

    assert (["a.txt", "b.txt"], "Why?") == (behind.files, behind.question)
    assert behind == before


@pytest.mark.parametrize(
    "arguments",
    [
        "ask a.txt - Why? --json --model m",
        "ask --json --model m a.txt - Why?",
        "ask a.txt --json - --model m Why?",
        "ask a.txt - --model m --json Why?",
    ],
)
def test_options_may_stand_anywhere_among_files(arguments: str) -> None:
    options = parse_arguments(make_parser(), arguments.split())

    assert (["a.txt", "-", "Why?"], "m", True) == (options.files, options.model, options.json)


@pytest.mark.parametrize("arguments", ["ask a.txt --jsn Why?", "ask a.txt --modle m", "demo a.txt"])
def test_unknown_arguments_are_told(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(make_parser(), arguments.split())

    assert "unrecognized arguments: " in capsys.readouterr().err


def test_standard_input_is_a_file() -> None:
    assert ["-"] == make_parser().parse_args(["ask", "-", "-q", "Why?"]).files


def test_control_characters_of_arguments_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args(["\x1b[2J"])

    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["-5", "nan", "soon"])
def test_the_time_to_keep_a_server_is_checked(
    seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args(["chat", "--keep", seconds])

    assert f"argument --keep: '{seconds}' is not a number of seconds" in capsys.readouterr().err
