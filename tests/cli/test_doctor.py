from __future__ import annotations

import re

import pytest

from mlxcel_integrations.cli import main
from tests.cli.conftest import CommandLine
from tests.fakes.server import FakeServer

SECRET = "sk-do-not-print"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BIN", "MODEL", "BASE_URL", "SOCKET", "API_KEY"):
        monkeypatch.delenv(f"MLXCEL_{name}", raising=False)


def lines(text: str) -> dict[str, str]:
    """Return the state of each subject that the doctor names."""
    found = re.findall(r"^(ok|missing|problem) +([\w-]+)", text, re.MULTILINE)
    return {subject: state for state, subject in found}


@pytest.mark.engine
def test_embedded_engine_is_ok(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["doctor"])
    said = capsys.readouterr().out
    assert {"ok"} == set(lines(said).values())
    assert {"Python", "httpx", "executable", "model", "socket"} <= lines(said).keys()
    assert said.endswith("Ready to chat.\n")


def test_dead_server_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert 1 == main(["doctor", "--socket", "/nowhere.sock"])
    said = capsys.readouterr().out
    assert "problem" == lines(said)["server"]
    assert "Cannot reach unix:///nowhere.sock" in said
    assert said.endswith("Not ready to chat: see the problems above.\n")


def test_wrong_key_is_a_problem_and_not_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLXCEL_API_KEY", SECRET)
    with FakeServer(api_key="another") as server:
        assert 1 == main(["doctor", "--base-url", server.url])
    out, err = capsys.readouterr()
    assert "MLXCEL_API_KEY" in out
    assert SECRET not in out + err


def test_right_key_is_ok_and_not_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLXCEL_API_KEY", SECRET)
    with FakeServer(api_key=SECRET) as server:
        assert 0 == main(["doctor", "--base-url", server.url])
    out, err = capsys.readouterr()
    assert SECRET not in out + err


def test_an_invalid_address_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert 1 == main(["doctor", "--base-url", "nowhere"])
    assert "is not an address" in capsys.readouterr().out


def test_socket_directory_is_described_and_removed(command_line: CommandLine) -> None:
    done = command_line.run("doctor")
    assert f"can be bound in {command_line.runtime} (mode 0700" in done.stdout
    assert [] == list(command_line.runtime.iterdir())


def test_closed_pipe_is_quiet(command_line: CommandLine) -> None:
    with command_line.start("doctor") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "" == process.stderr.read()
