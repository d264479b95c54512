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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("ask a.txt --jsn Why?", "ask: error: there is no option --jsn (did you mean --json?)"),
        (
            "ask a.txt --modle m --jsn --api-key=k --temperature 0 Why?",
            "ask: error: there is no option --modle (did you mean --model?), --jsn (did you mean "
            "--json?), --api-key (set MLXCEL_API_KEY), --temperature",
        ),
        ("chat --keep-alive 5", "chat: error: there is no option --keep-alive (use --keep)"),
        ("chat --socket /a.sock", "there is no option --socket (set MLXCEL_SOCKET)"),
        ("demo --model m", "demo: error: there is no option --model (set MLXCEL_MODEL)"),
        ("demo a.txt", "demo: error: unrecognized arguments: a.txt"),
        ("serve a b", "serve: error: unrecognized arguments: b"),
        ("serve a --model b", "serve: error: argument --model: not allowed with argument MODEL"),
        ("--modle", "mlxcel-integrations: error: there is no option --modle"),
    ],
)
def test_what_a_command_does_not_have_is_told_all_at_once(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(make_parser(), arguments.split())

    assert capsys.readouterr().err.endswith(f"{message}\n")


@pytest.mark.parametrize("arguments", ["serve m", "serve --model m"])
def test_a_model_to_serve_is_named_with_or_without_the_flag(arguments: str) -> None:
    assert "m" == parse_arguments(make_parser(), arguments.split()).model


def test_without_a_model_to_serve_there_is_none() -> None:
    assert None is parse_arguments(make_parser(), ["serve"]).model


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
