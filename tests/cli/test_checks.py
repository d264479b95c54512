from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from mlxcel_integrations.cli.checks import check_managed_server, check_running_server
from mlxcel_integrations.cli.engine import choose_engine
from mlxcel_integrations.cli.installation import Finding
from tests.fakes.program import executable
from tests.fakes.server import FakeServer


def by_subject(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


def check_server(server: FakeServer) -> dict[str, Finding]:
    endpoint = choose_engine(base_url=server.url).mode.endpoint
    assert endpoint is not None
    return by_subject(check_running_server(endpoint))


def test_the_version_of_the_executable_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLXCEL_BIN", str(executable(tmp_path)))

    found = by_subject(check_managed_server("owner/name"))

    assert {"ok"} == {finding.state for finding in found.values()}
    assert found["executable"].text.startswith(f"mlxcel 0.5.0, mlxcel at {tmp_path}/mlxcel (")
    assert "owner/name (a repository, downloaded on first use)" == found["model"].text


def test_a_missing_executable_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLXCEL_BIN", "/nowhere/mlxcel")

    found = by_subject(check_managed_server("owner/name"))

    assert ("problem", "not found") == (found["executable"].state, found["executable"].text)
    assert "/nowhere/mlxcel" in found["executable"].advice


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("#!/bin/sh\nexit 3\n", "exit status 3"),
        ("no program", "Exec format error"),
        ("#!/bin/sh\nexec yes\n", "printed more than"),
    ],
    ids=["fails", "no program", "prints without an end"],
)
def test_an_executable_that_does_not_run_is_a_problem(
    script: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    binary = tmp_path / "mlxcel"
    binary.write_text(script)
    binary.chmod(0o755)
    monkeypatch.setenv("MLXCEL_BIN", str(binary))

    found = by_subject(check_managed_server("owner/name"))["executable"]

    assert "problem" == found.state
    assert reason in found.advice


@pytest.mark.parametrize("model", ["/nowhere/model", "nonsense", "~/nowhere", "~nobody/x"])
def test_a_missing_model_is_a_problem(
    model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLXCEL_BIN", str(executable(tmp_path)))

    found = by_subject(check_managed_server(model))

    assert "ok" == found["executable"].state
    assert ("problem", f"{model!r} does not exist") == (found["model"].state, found["model"].text)
    assert "Pass an existing file or directory" in found["model"].advice


@pytest.mark.parametrize(("content", "reason"), [(None, "Cannot read"), (b"zip", "is not a GGUF")])
def test_a_file_that_is_not_gguf_is_a_problem(
    content: bytes | None, reason: str, tmp_path: Path
) -> None:
    model = tmp_path / "model.gguf"
    if content is not None:
        model.write_bytes(content)

    found = by_subject(check_managed_server(str(model)))["model"]

    assert "problem" == found.state
    assert reason in found.advice


def test_a_running_server_is_described() -> None:
    with FakeServer(model_id="fake-model", context_size=4096, slots=3) as server:
        found = check_server(server)

    assert ["server", "model", "context"] == list(found)
    assert found["server"].text.startswith(f"{server.url} (mlxcel")
    assert "fake-model" == found["model"].text
    assert "4096 tokens in each of 3 slots" == found["context"].text


def test_other_models_of_a_running_server_are_listed() -> None:
    models = [
        {"id": "chat", "capabilities": ["completion"]},
        {"id": "embedder", "capabilities": ["embedding"]},
    ]
    with FakeServer(models=models) as server:
        assert "chat (also: embedder)" == check_server(server)["model"].text


@pytest.fixture
def qwen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The name of the one model that mlxcel has downloaded."""
    name = "mlx-community/Qwen3-4B-4bit"
    directory = tmp_path / "store" / name
    directory.mkdir(parents=True)
    (directory / "config.json").write_text('{"max_position_embeddings": 40960}')
    monkeypatch.setenv("MLXCEL_MODELS_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("MLXCEL_BIN", str(executable(tmp_path)))
    return name


def test_downloaded_models_are_listed(qwen: str) -> None:
    found = by_subject(check_managed_server("owner/name"))

    assert f"{qwen} (34 B, context of 40960 tokens)" == found["downloaded"].text


@pytest.mark.parametrize("model", ["mlx-community/Qwen3-4B-4bit", "Qwen3-4B-4bit"])
def test_a_downloaded_model_is_described(model: str, qwen: str) -> None:
    found = by_subject(check_managed_server(model))["model"]

    assert f"{model} (on this machine: 34 B, context of 40960 tokens)" == found.text


@pytest.mark.parametrize(
    ("model", "state"), [("mlx-comunity/Qwen3-4B-4bit", "ok"), ("Qwen3-4B-4bits", "problem")]
)
def test_a_name_that_is_nearly_right_is_told(model: str, state: str, qwen: str) -> None:
    found = by_subject(check_managed_server(model))["model"]

    assert state == found.state
    assert f"Did you mean {qwen!r}, which mlxcel has on this machine?" in found.advice


def test_a_list_that_fails_is_no_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLXCEL_BIN", str(executable(tmp_path, FAKE_LIST="fails")))

    found = by_subject(check_managed_server("owner/name"))["downloaded"]

    assert "ok" == found.state
    assert "unknown: " in found.text
    assert "exit status 2" in found.text
