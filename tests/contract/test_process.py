"""The server as a process: its command line, its output, its socket, its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from mlxcel_integrations.embedded import command as engine
from tests.fakes.program import executable

from .servers import client, error

KEY = "a-key-of-the-environment"


@dataclass(frozen=True)
class Program:
    """How a server is started, and the model that it is to serve."""

    kind: str
    words: list[str]
    model: str

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command line that ends by itself."""
        command = [*self.words, "serve", *words]
        return subprocess.run(command, capture_output=True, timeout=60, check=False)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory whose path is short enough for sockets, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="c", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(
    params=[
        "v0.4.2",
        "newest",
        pytest.param("embedded", marks=pytest.mark.engine),
        pytest.param("mlxcel", marks=pytest.mark.mlxcel),
    ]
)
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Program:
    return make(request.param, tmp_path)


@pytest.fixture(params=["v0.4.2", "newest", pytest.param("mlxcel", marks=pytest.mark.mlxcel)])
def mlxcel(request: pytest.FixtureRequest, tmp_path: Path) -> Program:
    """Not the engine, which ends its process in an orderly way; its own tests tell how."""
    return make(request.param, tmp_path)


def make(kind: str, folder: Path) -> Program:
    if kind == "embedded":
        return Program(kind, engine(), "embedded")
    if kind == "mlxcel":
        return Program(kind, [os.environ["MLXCEL_BIN"]], os.environ["MLXCEL_MODEL"])
    return Program(kind, [str(executable(folder, FAKE_GENERATION=kind))], "org/name")


@contextmanager
def serving(words: list[str], path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server, and wait until something listens on its socket."""
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LLAMA_API_KEY": KEY},
    )
    try:
        wait(process, path)
        yield process
    finally:
        process.kill()
        process.communicate()


def wait(process: subprocess.Popen[bytes], path: Path) -> None:
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                return
        time.sleep(0.02)
    pytest.fail(f"nothing listens on {path}")


def ask(path: Path, route: str) -> httpx.Response:
    with client(f"unix://{path}", KEY) as http:
        return http.get(route)


def test_a_wrong_flag_is_told_with_the_usage(program: Program) -> None:
    """The status is 2, and the usage is told on stderr."""
    done = program.run("-m", program.model, "--no-such-flag")

    assert 2 == done.returncode
    assert b"usage" in done.stderr.lower()


def test_a_model_must_be_given(program: Program) -> None:
    """It is named as missing."""
    done = program.run("--port", "1")

    assert 2 == done.returncode
    assert b"--model" in done.stderr


def test_a_model_that_there_is_not_is_told_in_one_line(program: Program) -> None:
    """The status is 1, and stderr has one line that begins with `Error:`."""
    done = program.run("-m", "/no/such/model.gguf")

    assert 1 == done.returncode
    assert any(line.startswith(b"Error: ") for line in done.stderr.splitlines())


def test_a_context_that_is_too_small_for_its_slots(mlxcel: Program) -> None:
    """Each must have 512 tokens."""
    done = mlxcel.run("-m", mlxcel.model, "--ctx-size", "1024", "--n-parallel", "4")

    assert (1, True) == (done.returncode, b"Error: " in done.stderr)


def test_the_flags_can_be_asked_for(tmp_path: Path) -> None:
    """Newest prints them as JSON; v0.4.2 does not know the question."""
    statuses = [
        make(kind, tmp_path).run("--dump-flag-surface").returncode for kind in ("v0.4.2", "newest")
    ]

    assert [2, 0] == statuses


def test_a_server_on_a_socket_replaces_what_is_there_and_leaves_the_socket(
    mlxcel: Program, folder: Path
) -> None:
    """A path with port 0 is a socket, which replaces what is there and stays when a signal ends it.

    All that it logs is on stdout, without the key, which it takes from its environment.
    """
    path = folder / "x.sock"
    path.write_text("stale")
    words = [*mlxcel.words, "serve", "-m", mlxcel.model, "--host", str(path), "--port", "0"]

    with serving(words, path) as process:
        served = ask(path, "/v1/models")
        process.terminate()
        out, err = process.communicate(timeout=10)

    assert 200 == served.status_code
    assert -signal.SIGTERM == process.returncode
    assert path.exists()
    assert out
    assert b"" == err
    assert KEY.encode() not in out


@pytest.mark.parametrize(("kind", "port"), [("v0.4.2", "0"), ("newest", "0"), ("newest", "8080")])
def test_which_paths_are_sockets(kind: str, port: str, folder: Path) -> None:
    """v0.4.2 goes by the port alone, newest by the end of the path, or by both."""
    path = folder / ("x.sock" if port == "8080" else "x.other")
    program = make(kind, folder)

    with serving([*program.words, "serve", "-m", "m", "--host", str(path), "--port", port], path):
        assert 200 == ask(path, "/health").status_code


@pytest.mark.parametrize("kind", ["v0.4.2", "newest"])
def test_weights_that_cannot_be_loaded_do_not_end_it(kind: str, folder: Path) -> None:
    """It says so on stdout, listens, and is never healthy."""
    path = folder / "x.sock"
    script = executable(folder, FAKE_GENERATION=kind, FAKE_WEIGHTS_FAIL="1")
    words = [str(script), "serve", "-m", "m", "--host", str(path), "--port", "0"]

    with serving(words, path) as process:
        with client(f"unix://{path}", KEY) as http:
            health = http.get("/health")
            asked = http.post("/v1/completions", json={"model": "m", "prompt": "a"})
        process.terminate()
        out, _ = process.communicate(timeout=10)

    assert 503 == health.status_code
    assert (400 if kind == "v0.4.2" else 501) == asked.status_code
    assert error(asked)["type"] in ("server_error", "not_implemented")
    assert b"failed to load" in out.lower()
    assert b"warmup failed (non-fatal)" in out.lower()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["-m", "m", "--nope"], 2, "error: unexpected argument '--nope' found"),
        (["-m", "m", "-c", "1024"], 2, "error: unexpected argument '-c' found"),
        (["-m", "m", "--parallel", "2"], 2, "error: unexpected argument '--parallel' found"),
        (["-m", "m", "--ctx-size", "many"], 2,
         "error: invalid value 'many' for '--ctx-size <CTX_SIZE>': invalid digit found in string"),
        (["-m", "m", "--port", "99999"], 2,
         "error: invalid value '99999' for '--port <PORT>': 99999 is not in 0..=65535"),
        (["-m", "a/b/c"], 1,
         "Error: model 'a/b/c' is neither an existing path nor a valid HuggingFace repo-id"),
        (["-m", "m", "--api-key-file", "/nope"], 1,
         'Error: Failed to read API key file: "/nope"'),
        (["-m", "m", "--chat-template-kwargs", "{x"], 1,
         "Error: --chat-template-kwargs: chat_template_kwargs must be valid JSON"),
        (["-m", "m", "--host", "192.0.2.1", "--port", "8"], 1,
         "Error: Cannot assign requested address (os error 99)"),
    ],
)  # fmt: skip
def test_why_the_older_server_does_not_start(
    words: list[str], code: int, text: str, tmp_path: Path
) -> None:
    done = make("v0.4.2", tmp_path).run(*words)

    assert (code, "") == (done.returncode, done.stderr.decode().partition(text)[0])


def test_a_backtrace_comes_after_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUST_BACKTRACE", "1")
    lines = make("v0.4.2", tmp_path).run("-m", "a/b/c").stderr.decode().split("\n")

    assert ("Error: model", "", "Stack backtrace:") == (lines[0][:12], lines[1], lines[2])
    assert len(lines) > 40


@pytest.mark.parametrize("no_colours", ["", "1"])
def test_the_older_server_logs_in_colours(
    no_colours: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into a pipe too; it says that it starts on an address before it binds it."""
    monkeypatch.setenv("NO_COLOR", no_colours)
    done = make("v0.4.2", tmp_path).run("-m", "m", "--host", "192.0.2.1", "--port", "8")

    assert (not no_colours) == (b"\x1b[32m INFO\x1b[0m" in done.stdout)
    assert b"Starting mlxcel server on 192.0.2.1:8" in done.stdout
