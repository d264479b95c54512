from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlxcel_integrations import __version__
from mlxcel_integrations.cli import main
from tests.cli.conftest import CommandLine
from tests.fakes.server import FakeServer, executable

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
    assert said.endswith("A chat can run.\n")


def test_named_binary_tells_its_version(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLXCEL_BIN", str(executable(tmp_path)))
    assert 0 == main(["doctor", "--model", "owner/name"])
    assert f"mlxcel 0.5.0, mlxcel at {tmp_path}/mlxcel (MLXCEL_BIN names it)" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("model", ["/nowhere/model", "nonsense", "~/nowhere"])
def test_missing_model_is_a_problem(
    model: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("MLXCEL_BIN", str(executable(tmp_path)))
    monkeypatch.setenv("MLXCEL_MODEL", model)
    assert 1 == main(["doctor"])
    said = capsys.readouterr().out
    assert "problem" == lines(said)["model"]
    assert "ok" == lines(said)["executable"]
    assert "Name a file or directory that exists" in said


@pytest.mark.parametrize(("content", "reason"), [(None, "Cannot read"), (b"zip", "is not a GGUF")])
def test_gguf_file_that_is_none_is_a_problem(
    content: bytes | None, reason: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = tmp_path / "model.gguf"
    if content is not None:
        model.write_bytes(content)
    assert 1 == main(["doctor", "--model", str(model)])
    said = capsys.readouterr().out
    assert "problem" == lines(said)["model"]
    assert reason in said


@pytest.mark.parametrize(
    ("script", "reason"),
    [("#!/bin/sh\nexit 3\n", "exit status 3"), ("no program", "Exec format error")],
    ids=["fails", "no program"],
)
def test_binary_without_a_version_is_a_problem(
    script: str,
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    binary = tmp_path / "mlxcel"
    binary.write_text(script)
    binary.chmod(0o755)
    monkeypatch.setenv("MLXCEL_BIN", str(binary))
    assert 1 == main(["doctor", "--model", "owner/name"])
    said = capsys.readouterr().out
    assert "problem" == lines(said)["executable"]
    assert reason in said


def test_running_server_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer(model_id="fake-model", context_size=4096, slots=3) as server:
        assert 0 == main(["doctor", "--base-url", server.url])
    said = capsys.readouterr().out
    assert f"{server.url} (mlxcel" in said
    assert re.search(r"^ok +model +fake-model$", said, re.MULTILINE)
    assert "4096 tokens in each of 3 slots" in said
    assert "executable" not in lines(said)


def test_dead_server_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert 1 == main(["doctor", "--socket", "/nowhere.sock"])
    said = capsys.readouterr().out
    assert "problem" == lines(said)["server"]
    assert "Cannot reach unix:///nowhere.sock" in said
    assert said.endswith("A chat cannot run: see the problems above.\n")


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


def test_no_address_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert 1 == main(["doctor", "--base-url", "nowhere"])
    assert "is not an address" in capsys.readouterr().out


def test_socket_directory_is_described_and_removed(command_line: CommandLine) -> None:
    done = command_line.run("doctor")
    assert f"{command_line.runtime} takes private directories (mode 0700" in done.stdout
    assert [] == list(command_line.runtime.iterdir())


def test_options_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["doctor", "--socket", "/x.sock", "--model", "m"])
    assert 2 == caught.value.code
    assert "not allowed with" in capsys.readouterr().err


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert 0 == caught.value.code
    assert f"mlxcel-integrations {__version__}\n" == capsys.readouterr().out


def test_closed_pipe_is_quiet(command_line: CommandLine) -> None:
    with command_line.start("doctor") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "" == process.stderr.read()
