"""Only a server with the same slots gets back what another one has saved."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations.options.fields import ServerOptions
from mlxcel_integrations.supervisor.binary import EMBEDDED, LLAMA_SERVER
from mlxcel_integrations.supervisor.invocation import Invocation
from mlxcel_integrations.supervisor.launcher import Launcher
from mlxcel_integrations.supervisor.prompt_store import PromptStore
from mlxcel_integrations.supervisor.server_spec import ServerSpec
from mlxcel_integrations.supervisor.slot_compatibility import slot_compatibility_key
from mlxcel_integrations.transport.endpoint import Endpoint

ANYWHERE = Endpoint("http://127.0.0.1:8080")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(1_000_000))
    return path


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    path = tmp_path / "llama-server"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mlxcel-integrations"


def invocation(model: Path, binary: Path, **options: Any) -> Invocation:
    spec = ServerSpec(str(model), ServerOptions(binary=binary, keep_prompts=True, **options))
    return Invocation(spec)


def other_size(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def other_time(path: Path) -> None:
    os.utime(path, (1, 1))


def other_content(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"w" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("replace", [other_size, other_time, other_content])
@pytest.mark.parametrize("replaced", ["model", "binary", "adapter"])
def test_a_file_that_is_replaced_makes_another_server(
    replaced: str, replace: Callable[[Path], None], model: Path, binary: Path, tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter.gguf"
    adapter.write_bytes(bytes(100))
    command = [str(binary), "--model", str(model), f"--lora={adapter}"]
    before = slot_compatibility_key(command, LLAMA_SERVER)
    replace({"model": model, "binary": binary, "adapter": adapter}[replaced])

    assert before != slot_compatibility_key(command, LLAMA_SERVER)


@pytest.mark.parametrize(
    "named", ["{one}", "{one},{other}", "{other},{one}", "{one}:0.5", "{other}:1,{one}:0.5"]
)
def test_each_adapter_of_a_list_counts(named: str, tmp_path: Path) -> None:
    one, other = tmp_path / "one.gguf", tmp_path / "other.gguf"
    for adapter in (one, other):
        adapter.write_bytes(bytes(100))
    command = ["--lora-scaled", named.format(one=one, other=other)]
    before = slot_compatibility_key(command, LLAMA_SERVER)
    other_content(one)

    assert before != slot_compatibility_key(command, LLAMA_SERVER)


def test_each_file_of_a_split_model_counts(tmp_path: Path) -> None:
    parts = [tmp_path / f"model-0000{part}-of-00003.gguf" for part in (1, 2, 3)]
    for part in parts:
        part.write_bytes(bytes(100))
    kinds = [slot_compatibility_key(["--model", str(parts[0])], LLAMA_SERVER)]
    for part in parts:
        other_content(part)
        kinds.append(slot_compatibility_key(["--model", str(parts[0])], LLAMA_SERVER))

    assert 4 == len(set(kinds))


@pytest.mark.parametrize(
    "options",
    [{"ctx_size": 4096}, {"parallel": 3}, {"extra_args": ("--cache-type-k", "q8_0")}],
)
def test_options_make_another_server_and_its_address_does_not(
    options: dict[str, Any], model: Path, binary: Path
) -> None:
    one, same, other = (
        invocation(model, binary, **given).prompt_store() for given in ({}, {"port": 8081}, options)
    )

    assert one is not None
    assert same is not None
    assert other is not None
    assert one.directory == same.directory != other.directory


@pytest.mark.parametrize("replaced", [False, True])
def test_a_model_that_is_replaced_while_it_loads_gets_no_prompts(
    replaced: bool, model: Path, binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[PromptStore] = []
    monkeypatch.setattr(
        "mlxcel_integrations.supervisor.launcher.restore_prompts",
        lambda _, store: asked.append(store),
    )
    server = invocation(model, binary)
    store = server.prompt_store()
    if replaced:
        other_content(model)
    Launcher(server.spec, lambda *_: None, lambda _: False)._restore_prompts(ANYWHERE, store)

    assert ([] if replaced else [store]) == asked


def test_a_server_is_told_where_to_save(model: Path, binary: Path, cache: Path) -> None:
    server = invocation(model, binary)
    command = server.command(ANYWHERE, server.prompt_store())

    assert "--slot-save-path" == command[-2]
    assert cache / "prompts" == Path(command[-1]).parent
    assert Path(command[-1]).is_dir()


def test_the_engine_of_another_version_is_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    before = slot_compatibility_key(["engine"], EMBEDDED)
    monkeypatch.setattr("importlib.metadata.version", lambda _: "9.9")

    assert before != slot_compatibility_key(["engine"], EMBEDDED)


def test_mlxcel_keeps_none(tmp_path: Path) -> None:
    mlxcel = tmp_path / "mlxcel"
    mlxcel.write_text("#!/bin/sh\n")
    mlxcel.chmod(0o755)
    server = invocation(Path("org/m"), mlxcel)
    store = server.prompt_store()

    assert "--slot-save-path" not in server.command(ANYWHERE, store)
    assert [] == server.before_stop(ANYWHERE, store)


def test_a_server_starts_without_kept_prompts_where_no_directory_can_be_made(
    model: Path, binary: Path, cache: Path
) -> None:
    cache.parent.mkdir()
    cache.write_text("a file in its place")
    server = invocation(model, binary)
    store = server.prompt_store()

    assert "--slot-save-path" not in server.command(ANYWHERE, store)
    assert [] == server.before_stop(ANYWHERE, store)


@pytest.mark.timeout(10)
def test_a_pipe_among_the_arguments_is_not_opened(model: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "template"
    os.mkfifo(pipe)

    assert slot_compatibility_key(
        ["--model", str(model), "--chat-template-file", str(pipe)], LLAMA_SERVER
    )
