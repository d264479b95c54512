"""The command line of the engine: what mlxcel's has, as far as the engine supports it."""

from __future__ import annotations

import pytest

from mlxcel_integrations.embedded.arguments import MAX_INT, parse_arguments


def test_the_defaults_suit_a_small_machine() -> None:
    options = parse_arguments(["serve", "-m", "embedded"])

    assert {
        "model": "embedded",
        "alias": None,
        "chat_template": None,
        "chat_template_file": None,
        "host": "127.0.0.1",
        "port": 8080,
        "ctx_size": None,
        "n_predict": None,
        "n_parallel": 2,
        "slot_save_path": None,
        "spec_type": "none",
        "warmup": True,
        "verbose": False,
    } == vars(options)


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        (["--model=x.gguf"], "model", "x.gguf"),
        (["-a", "tiny"], "alias", "tiny"),
        (["--host", "/run/x.sock"], "host", "/run/x.sock"),
        (["--port", "0"], "port", 0),
        (["--ctx-size", "0"], "ctx_size", 0),
        (["--ctx-size", str(MAX_INT)], "ctx_size", MAX_INT),
        (["--n-predict=-1"], "n_predict", -1),
        (["--parallel", "4"], "n_parallel", 4),
        (["--n-parallel", "256"], "n_parallel", 256),
        (["--no-warmup"], "warmup", False),
        (["--slot-save-path", "/x"], "slot_save_path", "/x"),
        (["--chat-template", "{{ x }}"], "chat_template", "{{ x }}"),
        (["--verbose"], "verbose", True),
    ],
)
def test_a_flag_sets_its_option(flags: list[str], name: str, value: object) -> None:
    assert value == vars(parse_arguments(["serve", "-m", "embedded", *flags]))[name]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--port", "65536"], "65536 is not a number from 0 to 65535"),
        (["--port", "many"], "many is not a number from 0 to 65535"),
        (["--n-parallel", "0"], "0 is not a number from 1 to 256"),
        (["--n-predict", "-2"], "-2 is not a number from -1"),
        (["--ctx-size", str(MAX_INT + 1)], f"is not a number from 0 to {MAX_INT}"),
        (["--spec-type", "draft"], "invalid choice: 'draft' (choose from"),
        (["--par", "2"], "unrecognized arguments: --par 2"),
        (["--flash-attn"], "unrecognized arguments: --flash-attn"),
        (["--chat-template", "a", "--chat-template-file", "b"], "not allowed with argument"),
    ],
)
def test_a_wrong_flag_ends_the_program_with_status_2(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(["serve", "-m", "embedded", *flags])

    error = capsys.readouterr().err
    assert 2 == caught.value.code
    assert said in error
    assert 1 == error.count("\n")


def test_a_model_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["serve"])
    assert "-m/--model" in capsys.readouterr().err
