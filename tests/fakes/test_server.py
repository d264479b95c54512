"""The fake server does what a test tells it; how servers answer is in `tests/contract`."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.answers import Generation
from tests.fakes.program import executable
from tests.fakes.server import FakeServer, Reply

BOTH = pytest.mark.parametrize("generation", ["v0.4.2", "newest"])
CHAT = "/v1/chat/completions"


def connect(path_or_port: Path | int) -> http.client.HTTPConnection:
    if isinstance(path_or_port, int):
        return http.client.HTTPConnection("127.0.0.1", path_or_port, timeout=10)
    connection = http.client.HTTPConnection("localhost", timeout=10)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    try:
        sock.connect(str(path_or_port))
    except OSError:
        sock.close()
        raise
    connection.sock = sock
    return connection


def call(
    server: FakeServer | Path, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, bytes]:
    target = server if isinstance(server, Path) else server.socket or server.port
    assert target is not None
    with closing(connect(target)) as connection:
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json", **headers}
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        return response.status, response.read()


def ask(text: str = "ä 1", **fields: Any) -> dict[str, Any]:
    return {"model": "any", "messages": [{"role": "user", "content": text}], **fields}


def post(server: FakeServer | Path, path: str, body: Any) -> Any:
    status, data = call(server, "POST", path, body)
    assert 200 == status, data
    return json.loads(data)


@BOTH
def test_limits_shape_the_default_answer(generation: Generation) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    with FakeServer(generation) as server:
        cut = post(server, CHAT, ask("a b c", max_tokens=2))["choices"][0]
        stopped = post(server, CHAT, ask("a b c", stop=["b"]))["choices"][0]
        formed = post(server, CHAT, ask(response_format=wanted))["choices"][0]
    assert ("echo: a", "length") == (cut["message"]["content"], cut["finish_reason"])
    # The older server does not look at `stop`.
    text = "echo: a b c" if generation == "v0.4.2" else "echo: a "
    assert (text, "stop") == (stopped["message"]["content"], stopped["finish_reason"])
    assert {"a": 1, "b": "x"} == json.loads(formed["message"]["content"])


@pytest.mark.parametrize("count", [0, 5, 40])
def test_cut_after_sends_exactly_so_many_body_bytes(count: int) -> None:
    with FakeServer() as server:
        server.script(Reply.text("hello world", cut_after=count))
        assert server.port is not None
        with closing(connect(server.port)) as connection:
            connection.request(
                "POST", CHAT, json.dumps(ask(stream=True)), {"Content-Type": "application/json"}
            )
            with pytest.raises(http.client.IncompleteRead) as caught:
                connection.getresponse().read()
    assert count == len(caught.value.partial)


def test_events_arrive_byte_by_byte() -> None:
    with FakeServer() as server:
        server.script(Reply.events(["é"], chunk_size=1))
        assert "data: é\n\ndata: [DONE]\n\n".encode() == call(server, "POST", CHAT, ask())[1]


@pytest.mark.parametrize("reply", [Reply.close(), Reply.raw(b"")])
def test_a_closed_connection_has_no_answer(reply: Reply) -> None:
    with FakeServer() as server:
        server.script(reply)
        with pytest.raises(http.client.RemoteDisconnected):
            call(server, "POST", CHAT, ask())


def test_routes_are_scripted_and_connections_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "made" / "x.sock"
    with FakeServer(socket=path) as server:
        server.route("/props", Reply.plain(404))
        with closing(connect(path)) as connection:
            for _ in range(3):
                connection.request("GET", "/props")
                response = connection.getresponse()
                assert (404, b"") == (response.status, response.read())
        assert (1, 3) == (server.connections, len(server.requests))
        assert f"unix://{path}" == server.url
        assert [] == server.posts
    assert path.exists()


# --------------------------------------------------------------------------- as a program


@contextmanager
def started(script: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            return connect(path).close()
        except OSError:
            time.sleep(0.02)
    pytest.fail(f"nothing listens on {path}")


@pytest.mark.parametrize(
    ("words", "environment", "code", "text"),
    [
        (["serve", "-m", "m", "-c", "1024"], {}, 2, "usage"),
        (["-m", "m", "-c", "1024"], {}, 1, "Error: --ctx-size"),
        (["serve", "-m", "m"], {"FAKE_FAIL": "boom"}, 1, "Error: boom"),
        (["serve", "-m", "m"], {"FAKE_EXIT_CODE": "7"}, 7, ""),
    ],
)
def test_the_program_ends_with(
    words: list[str], environment: dict[str, str], code: int, text: str, tmp_path: Path
) -> None:
    script = executable(tmp_path, "mlxcel", wrapper=False, **environment)
    done = subprocess.run([script, *words], capture_output=True, timeout=20, check=False)
    assert code == done.returncode
    assert text in done.stderr.decode()


def test_the_program_crashes_inside_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    script = executable(tmp_path, "mlxcel-server", FAKE_CRASH_AFTER="1", FAKE_STDOUT_BYTES="5000")
    with started(script, "-m", "m", "--host", str(path), "--port", "0") as process:
        wait_for(path)
        post(path, CHAT, ask())
        with pytest.raises(http.client.IncompleteRead):
            call(path, "POST", CHAT, ask("a b c d", stream=True))
        out, error = process.communicate(timeout=10)
        assert -signal.SIGKILL == process.returncode
    assert 5000 == len(error)
    assert b"\xff" in out


def test_without_warmup_the_program_binds_before_it_is_ready(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    script = executable(tmp_path, FAKE_WEIGHTS_FAIL="1", FAKE_GENERATION="v0.4.2")
    with started(script, "serve", "-m", "m", "--host", str(path), "--port", "0", "--no-warmup"):
        wait_for(path)
        assert 503 == call(path, "GET", "/health")[0]
        assert b"server_error" in call(path, "POST", CHAT, ask())[1]


@pytest.mark.parametrize("warmup", [True, False])
def test_the_program_stays_up_when_its_weights_cannot_be_loaded(
    warmup: bool, tmp_path: Path
) -> None:
    path = tmp_path / "x.sock"
    script = executable(
        tmp_path,
        FAKE_WEIGHTS_FAIL="1",
        FAKE_LOG_LINES='["step 1", "step 2"]',
        FAKE_LOAD_SECONDS="0.1",
    )
    words = ["serve", "-m", "m", "--host", str(path), "--port", "0"]
    with started(script, *words, *["--no-warmup"] * (not warmup)) as process:
        wait_for(path)
        time.sleep(0.3)
        assert 503 == call(path, "GET", "/health")[0]
        process.terminate()
        out, _ = process.communicate(timeout=10)
    events = [b"step 1", b"step 2", b"failed to load", b"failed (non-fatal)", b"listening"]
    order = events if warmup else [b"listening", b"step 1", b"step 2", b"failed to load"]
    assert order == [next(e for e in events if e in line) for line in out.splitlines()[1:]]


def test_the_health_of_the_program_can_be_wrong_for_a_while(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    script = executable(tmp_path, FAKE_HEALTH="404", FAKE_HEALTH_SECONDS="0.2")
    with started(script, "serve", "-m", "m", "--host", str(path), "--port", "0"):
        wait_for(path)
        assert 404 == call(path, "GET", "/health")[0]
        time.sleep(0.3)
        assert 200 == call(path, "GET", "/health")[0]


def test_the_program_can_be_slow_between_tokens(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    script = executable(tmp_path, FAKE_TOKEN_SECONDS="0.05")
    with started(script, "serve", "-m", "m", "--host", str(path), "--port", "0"):
        wait_for(path)
        began = time.monotonic()
        call(path, "POST", CHAT, ask("a b c d", stream=True))
        assert time.monotonic() - began > 0.2


def test_a_wrapper_does_not_pass_signals_on(tmp_path: Path) -> None:
    pid_file, path = tmp_path / "pids", tmp_path / "x.sock"
    script = executable(tmp_path, wrapper=True, FAKE_PIDFILE=str(pid_file))
    with started(script, "serve", "-m", "m", "--host", str(path), "--port", "0") as process:
        wait_for(path)
        server = json.loads(pid_file.read_text())
        assert process.pid == server["ppid"]
        process.terminate()
        process.wait(10)
        try:
            assert 200 == call(path, "GET", "/health")[0]
        finally:
            os.kill(server["pid"], signal.SIGKILL)
