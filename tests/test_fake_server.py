"""The fake server behaves as the two server generations do."""

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

from tests.fake_replies import Generation
from tests.fake_server import FakeServer, Reply, executable

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
    assert status == 200, data
    return json.loads(data)


def events(data: bytes) -> list[Any]:
    lines = [line.removeprefix(b"data: ") for line in data.split(b"\n\n") if line]
    return [line if line == b"[DONE]" else json.loads(line) for line in lines]


@BOTH
def test_chat_streams_in_the_documented_sequence(generation: Generation) -> None:
    with FakeServer(generation) as server:
        wanted = ask(stream=True, stream_options={"include_usage": True})
        *chunks, done = events(call(server, "POST", CHAT, wanted)[1])
        folded = post(server, CHAT, ask())
    assert done == b"[DONE]"
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert [
        {"role": "assistant"},
        {"content": "echo:"},
        {"content": " ä"},
        {"content": " 1"},
        {},
    ] == deltas
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]]
    assert [None, None, None, None, "stop"] == reasons
    assert [] == chunks[-1]["choices"]
    assert folded["usage"] == chunks[-1]["usage"]
    assert not any("usage" in chunk for chunk in chunks[:-1])
    assert "echo: ä 1" == folded["choices"][0]["message"]["content"]


def test_tool_calls_come_in_two_deltas_at_the_end() -> None:
    with FakeServer() as server:
        server.script(Reply.text("", tool_calls=[{"name": "f", "arguments": {"a": 1}}]))
        chunks = events(call(server, "POST", CHAT, ask(stream=True))[1])
    named, arguments = (chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in chunks[1:3])
    assert {"name": "f"} == named["function"]
    assert {"index": 0, "function": {"arguments": '{"a": 1}'}} == arguments
    assert "tool_calls" == chunks[3]["choices"][0]["finish_reason"]


@BOTH
@pytest.mark.parametrize(
    ("path", "fields", "old", "new"),
    [
        (CHAT, {"stop": "x"}, 422, 200),
        (CHAT, {"stop": ["x"]}, 200, 200),
        (CHAT, {"seed": -1}, 422, 200),
        (CHAT, {"top_k": -1}, 422, 422),
        (CHAT, {"max_tokens": -1}, 422, 422),
        (CHAT, {"model": None}, 422, 422),
        (CHAT, {"messages": [{"role": "developer", "content": "x"}]}, 422, 422),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "file"}]}]}, 422, 422),
        (CHAT, {"messages": []}, 400, 400),
        (CHAT, {"response_format": {"type": "json_object"}}, 400, 400),
        (CHAT, {"response_format": "json"}, 400, 400),
        (CHAT, {"top_logprobs": 1}, 400, 400),
        (CHAT, {"logprobs": True, "top_logprobs": 21}, 400, 400),
        (CHAT, {"tool_choice": "required"}, 200, 400),
        (CHAT, {"typical_p": 0}, 200, 400),
        (CHAT, {"n": 3, "no_such_field": {}}, 200, 200),
        ("/v1/completions", {"prompt": ["a"]}, 422, 422),
        ("/v1/completions", {"prompt": " "}, 400, 400),
        ("/v1/completions", {"prompt": "", "logprobs": 6}, 400, 400),
        ("/apply-template", {}, 404, 200),
        (f"{CHAT}/input_tokens", {"stop": 1}, 404, 400),
        ("/v1/embeddings", {"input": "x"}, 404, 501),
        ("/health", {}, 405, 405),
        ("/no-such-route", {}, 404, 404),
    ],
)
def test_statuses(
    generation: Generation, path: str, fields: dict[str, Any], old: int, new: int
) -> None:
    with FakeServer(generation) as server:
        status, data = call(server, "POST", path, ask(**fields))
    assert (old if generation == "v0.4.2" else new) == status
    is_json = status in (200, 400, 501)
    assert is_json == data.startswith(b"{")
    assert (status in (404, 405)) == (data == b"")


@BOTH
def test_limits_shape_the_default_answer(generation: Generation) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    with FakeServer(generation) as server:
        cut = post(server, CHAT, ask("a b c", max_tokens=2))["choices"][0]
        stopped = post(server, CHAT, ask("a b c", stop=["b"]))["choices"][0]
        formed = post(server, CHAT, ask(response_format=wanted))["choices"][0]
    assert ("echo: a", "length") == (cut["message"]["content"], cut["finish_reason"])
    assert ("echo: a ", "stop") == (stopped["message"]["content"], stopped["finish_reason"])
    assert {"a": 1, "b": "x"} == json.loads(formed["message"]["content"])


@BOTH
def test_tokens_are_reversible_and_agree_with_usage(generation: Generation) -> None:
    text = "  früh\n\n日本 語 🎉 "
    with FakeServer(generation) as server:
        tokens = post(server, "/tokenize", {"content": text})["tokens"]
        again = post(server, "/detokenize", {"tokens": tokens})["content"]
        usage = post(server, "/v1/completions", {"model": "m", "prompt": text})["usage"]
    assert text == again
    assert len(tokens) == usage["prompt_tokens"]


@BOTH
def test_health_tells_the_generations_apart(generation: Generation) -> None:
    with FakeServer(generation) as server:
        ready = json.loads(call(server, "GET", "/health")[1])
        server.busy = True
        busy = call(server, "GET", "/health")[0]
        refused = call(server, "POST", CHAT, ask())
        server.loading = True
        loading = call(server, "GET", "/health")
    newest = generation == "newest"
    assert newest == (ready == {"status": "ok"})
    assert (200 if newest else 503) == busy
    assert (503, "server_busy") == (refused[0], json.loads(refused[1])["error"]["type"])
    assert loading[0] == 503
    assert newest == (b"unavailable_error" in loading[1])


@BOTH
def test_a_key_is_needed_except_for_health(generation: Generation) -> None:
    with FakeServer(generation, api_key="k") as server:
        missing = json.loads(call(server, "GET", "/v1/models")[1])["error"]
        wrong = json.loads(call(server, "GET", "/v1/models", Authorization="Bearer x")[1])["error"]
        assert 200 == call(server, "GET", "/v1/models", Authorization="Bearer k")[0]
        assert 200 == call(server, "GET", "/health")[0]
        by_header = call(server, "GET", "/v1/models", **{"X-Api-Key": "k"})[0]
    old = ["missing_api_key", "invalid_api_key"]
    assert (old if generation == "v0.4.2" else ["authentication_error"] * 2) == [
        missing["type"],
        wrong["type"],
    ]
    assert (401 if generation == "v0.4.2" else 200) == by_header


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


def test_events_arrive_byte_by_byte_and_pings_between_tokens() -> None:
    with FakeServer() as server:
        server.ping_every = 0.01
        server.script(Reply.events(["é"], chunk_size=1), Reply.text("a b", delay=0.05))
        assert "data: é\n\ndata: [DONE]\n\n".encode() == call(server, "POST", CHAT, ask())[1]
        assert b":\n\n:\n\n" in call(server, "POST", CHAT, ask(stream=True))[1]


def test_a_client_that_leaves_is_noticed_and_frees_its_slot() -> None:
    with FakeServer() as server:
        server.script(Reply.text("a b", first_delay=60))
        assert server.port is not None
        with closing(connect(server.port)) as connection:
            connection.request(
                "POST", CHAT, json.dumps(ask(stream=True)), {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            assert b"assistant" in response.readline()
            assert 1 == server.generating
            assert not server.disconnected.is_set()
            response.close()
        assert server.wait_disconnect(5)
        deadline = time.monotonic() + 5
        while server.generating and time.monotonic() < deadline:
            time.sleep(0.01)
        assert 0 == server.generating


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


def test_vectors_and_ranks_need_a_model_that_can() -> None:
    models = [{"id": "e", "capabilities": ["embedding"]}, {"id": "r", "capabilities": ["rerank"]}]
    with FakeServer(models=models) as server:
        rows = post(server, "/v1/embeddings", {"input": ["a", "b"], "model": "e"})["data"]
        ranked = post(server, "/v1/rerank", {"query": "red fox", "documents": ["x", "a fox"]})
        wrong = call(server, "POST", "/v1/embeddings", {"input": "a", "model": "other"})[0]
        native = post(server, "/embedding", {"content": "a"})
        tei = post(server, "/rerank", {"query": "fox", "texts": ["x", "a fox"], "top_n": 1})
    assert [0, 1] == [row["index"] for row in rows]
    assert [1, 0] == [result["index"] for result in ranked["results"]]
    assert 400 == wrong
    assert [{"index": 0, "embedding": [rows[0]["embedding"]]}] == native
    assert [{"index": 1, "score": 1.0}] == tei


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


@BOTH
def test_the_program_serves_on_a_socket_and_dies_by_signal(
    generation: Generation, tmp_path: Path
) -> None:
    pid_file, path = tmp_path / "pids", tmp_path / "x.sock"
    path.write_text("stale")
    script = executable(tmp_path, FAKE_GENERATION=generation, FAKE_PIDFILE=str(pid_file))
    words = ["serve", "-m", "org/name", "--host", str(path), "--port", "0", "--ctx-size", "8192"]
    with started(script, *words, LLAMA_API_KEY="secret") as process:
        wait_for(path)
        status, data = call(path, "GET", "/v1/models", Authorization="Bearer secret")
        process.terminate()
        out, _ = process.communicate(timeout=10)
        assert -signal.SIGTERM == process.returncode
    assert (200, "name") == (status, json.loads(data)["data"][0]["id"])
    assert b"downloading" in out
    assert b"secret" not in out
    assert path.exists()
    line = json.loads(pid_file.read_text())
    assert (process.pid, words) == (line["pid"], line["argv"])
    assert "secret" == line["environment"]["LLAMA_API_KEY"]


@pytest.mark.parametrize(
    ("words", "environment", "code", "text"),
    [
        (["serve", "--host", "x"], {}, 2, "--model"),
        (["serve", "-m", "m", "--nope"], {}, 2, "usage"),
        (["serve", "-m", "m", "-c", "1024"], {}, 2, "usage"),
        (["serve", "-m", "/no/such/model"], {}, 1, "Error: model path not found"),
        (["-m", "m", "-c", "1024"], {}, 1, "Error: --ctx-size"),
        (["serve", "-m", "m"], {"FAKE_FAIL": "boom"}, 1, "Error: boom"),
        (["serve", "-m", "m"], {"FAKE_EXIT_CODE": "7"}, 7, ""),
        (["serve", "--dump-flag-surface"], {"FAKE_GENERATION": "v0.4.2"}, 2, "usage"),
        (["serve", "--dump-flag-surface"], {}, 0, ""),
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
