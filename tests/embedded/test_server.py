"""The engine as a process: its command line, its ends, and what it says when it cannot start."""

from __future__ import annotations

import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlxcel_integrations.embedded import BUILT_IN_EMBEDDER
from mlxcel_integrations.embedded.model import locate_model

from .engine import run, serving, start, wait_until_ready

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def gemma() -> str:
    return str(locate_model("embedded"))


def error_of(*flags: str) -> str:
    """Return the one line that says why the engine cannot start, after checking all rules."""
    status, stderr = run(*flags)
    # llama.cpp writes its own lines meanwhile, and may have begun one.
    errors = re.findall("Error: .+", stderr)
    assert 1 == status
    assert 1 == len(errors)
    assert "Traceback" not in stderr
    return errors[0]


@pytest.mark.parametrize(
    "flags",
    [
        ["-m", "embedded", "--flash-attn"],
        [],
    ],
)
def test_a_wrong_command_line_ends_with_status_2(flags: list[str]) -> None:
    status, stderr = run(*flags)

    assert 2 == status
    assert "error: " in stderr


def test_a_model_for_another_server_is_refused() -> None:
    assert "'owner/name'" in error_of("-m", "owner/name", "--host", "x.sock")


def test_a_missing_file_is_named(place: Path) -> None:
    error = error_of("-m", f"{place}/none.gguf", "--host", f"{place}/x.sock")

    assert f"{place}/none.gguf: No such file" in error


def test_a_file_that_is_not_gguf_is_named(place: Path) -> None:
    (place / "page.gguf").write_text("<html>Not found</html>")

    error = error_of("-m", f"{place}/page.gguf", "--host", f"{place}/x.sock")

    assert f"{place}/page.gguf is not a GGUF file" in error


def test_a_file_that_llama_cpp_cannot_load_is_named_and_kept(place: Path, gemma: str) -> None:
    with Path(gemma).open("rb") as whole:
        (place / "half.gguf").write_bytes(whole.read(1_000_000))

    error = error_of("-m", f"{place}/half.gguf", "--host", f"{place}/x.sock")

    assert f"cannot serve {place}/half.gguf" in error
    assert [place / "half.gguf"] == list(place.iterdir())


@pytest.mark.parametrize(
    ("context", "said"), [("512", "less than 512"), ("2000000000", "at most 65536")]
)
def test_a_context_that_cannot_be_is_refused(
    place: Path, gemma: str, context: str, said: str
) -> None:
    assert said in error_of("-m", gemma, "--host", f"{place}/x.sock", "--ctx-size", context)


def test_a_port_that_is_taken_is_named(gemma: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        error = error_of("-m", gemma, "--host", "127.0.0.1", "--port", str(port))

    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_takes_its_socket_away(place: Path, number: signal.Signals) -> None:
    process = start("-m", "embedded", "--host", f"{place}/x.sock", "--no-warmup")
    loading, listening = wait_until_ready(process)
    started = time.monotonic()

    process.send_signal(number)
    process.communicate(timeout=10)

    assert 0 == process.returncode
    assert time.monotonic() - started < 1
    assert not (place / "x.sock").exists()
    assert ": 2 slots, 8192 tokens of context, " in loading
    assert f"Listening on unix://{place}/x.sock\n" == listening


def test_sigterm_ends_it_while_it_loads(place: Path, gemma: str) -> None:
    process = start("-m", gemma, "--host", f"{place}/x.sock")
    assert process.stderr is not None
    assert process.stderr.readline().startswith("Loading ")
    time.sleep(0.1)
    started = time.monotonic()

    process.terminate()
    _, stderr = process.communicate(timeout=10)

    assert process.returncode in (0, -signal.SIGTERM)
    assert time.monotonic() - started < 1
    assert "Listening" not in stderr


def test_it_listens_on_a_free_port_with_a_key_an_alias_and_another_template(gemma: str) -> None:
    flags = ["-m", gemma, "--port", "0", "--alias", "tiny", "--chat-template", "Hello."]
    process = start(*flags, "--no-warmup", "--n-parallel", "1", LLAMA_API_KEY="secret-key")
    try:
        url = wait_until_ready(process)[-1].removeprefix("Listening on ").strip()
        key = {"Authorization": "Bearer secret-key"}
        body = {"messages": [{"role": "user", "content": "Hi"}]}
        with httpx.Client(base_url=url, trust_env=False) as http:
            assert 401 == http.post("/apply-template", json=body).status_code
            models = http.get("/v1/models", headers=key).json()
            prompt = http.post("/apply-template", json=body, headers=key).json()["prompt"]
    finally:
        process.terminate()
        process.communicate(timeout=10)

    assert "tiny" == models["data"][0]["id"]
    assert "Hello." == prompt


@pytest.mark.parametrize(
    ("route", "body"),
    [("chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}), ("embeddings", {})],
)
def test_a_model_is_served_for_what_it_was_made_for(
    route: str, body: dict[str, Any], place: Path
) -> None:
    """An embedder refuses chats, and a chat model embeddings."""
    model = {"embeddings": "embedded"}.get(route, BUILT_IN_EMBEDDER)
    with serving(place / "x.sock", "-m", model, "--no-warmup") as http:
        refused = http.post(f"/v1/{route}", json={"input": "a", **body})
        vectors = http.post("/v1/embeddings", json={"input": ["word " * 200, "b"]}).json()

    assert refused.status_code in (500, 501)
    if model == BUILT_IN_EMBEDDER:
        assert [384, 384] == [len(item["embedding"]) for item in vectors["data"]]
