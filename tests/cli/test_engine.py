from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest

from mlxcel_integrations.cli.engine import choose_engine, running_engine
from mlxcel_integrations.cli.parser import UsageError
from mlxcel_integrations.cli.terminal import Terminal
from tests.fakes.program import executable
from tests.fakes.server import FakeServer


def test_options_beat_the_environment_and_the_environment_the_embedded_engine() -> None:
    environ = {"MLXCEL_MODEL": "from/environment"}

    named = choose_engine("from/option", environ=environ)
    assert ("from/option", "from --model") == (named.mode.model, named.reason)
    named = choose_engine(environ=environ)
    assert ("from/environment", "from MLXCEL_MODEL") == (named.mode.model, named.reason)
    default = choose_engine(environ={})
    assert "embedded" == default.mode.model
    assert "none of MLXCEL_BASE_URL, MLXCEL_SOCKET, MLXCEL_MODEL is set" == default.reason


def test_a_running_server_beats_a_model_in_the_environment() -> None:
    environ = {"MLXCEL_MODEL": "owner/name", "MLXCEL_BASE_URL": "http://127.0.0.1:8080"}

    choice = choose_engine(environ=environ)

    assert "http://127.0.0.1:8080" == str(choice.mode.endpoint)
    assert "from MLXCEL_BASE_URL" == choice.reason


def test_a_server_is_started_and_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLXCEL_BIN", str(executable(tmp_path)))
    log, imported = StringIO(), []

    with running_engine(
        Terminal(log), choose_engine("owner/name"), lambda: imported.append("packages")
    ) as endpoint:
        path = Path(str(endpoint.socket))
        assert path.exists()

    assert not path.exists()
    assert ["packages"] == imported
    names = [line.split()[0] for line in log.getvalue().splitlines()]
    assert ["Engine", "Model", "Starting", "Server"] == names


@pytest.mark.parametrize(
    ("keep", "refused"),
    [(None, "--embedding-model is"), (5.0, "--embedding-model and --keep are")],
)
def test_options_for_a_server_are_refused_for_a_running_one(
    keep: float | None, refused: str
) -> None:
    terminal = Terminal(StringIO())
    with FakeServer() as server:
        choice = choose_engine(base_url=server.url)
        with (
            pytest.raises(UsageError, match=rf"^{refused} only for a server"),
            running_engine(terminal, choice, lambda: None, keep, embedding_model="owner/e"),
        ):
            pass
