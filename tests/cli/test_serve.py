from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest

from mlxcel_integrations.cli import main
from tests.cli.conftest import CommandLine
from tests.fakes.program import executable


def test_a_server_answers_until_it_is_interrupted(
    command_line: CommandLine, tmp_path: Path
) -> None:
    socket = command_line.runtime / "own.sock"
    process = command_line.start(
        "serve", "owner/name", "--socket", str(socket), MLXCEL_BIN=str(executable(tmp_path))
    )
    assert process.stdout is not None

    assert f"unix://{socket}\n" == process.stdout.readline()
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket))) as client:
        assert 200 == client.get("http://localhost/health").status_code
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)

    assert 0 == process.returncode
    assert "Press Ctrl-C to stop.\n" in err
    assert err.endswith("\nStopped.\n")
    assert not socket.exists()


def test_the_address_is_that_of_a_port_unless_a_socket_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLXCEL_BIN", str(executable(tmp_path, FAKE_FAIL="no such model")))

    assert 1 == main(["serve", "owner/name", "--port", "1"])

    assert "no such model" in capsys.readouterr().err


@pytest.mark.parametrize("model", [[], ["owner/name"]])
def test_an_embedder_with_a_server_of_its_own_is_not_served_beside(
    model: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == main(["serve", *model, "--port", "9000", "--embedding-model", "embedded"])

    end = "run in another terminal: mlxcel-integrations serve embedded/all-MiniLM-L6-v2 --port 9001"
    assert capsys.readouterr().err.rstrip().endswith(end)
