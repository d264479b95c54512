"""A start that goes wrong without an end of the process is told, and told in time."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxcel_integrations import MlxcelServerError, MlxcelTimeoutError
from mlxcel_integrations.options.fields import ServerOptions
from mlxcel_integrations.supervisor.launcher import Launcher, health_status
from mlxcel_integrations.supervisor.server_process import ServerProcess
from mlxcel_integrations.supervisor.server_spec import ServerSpec
from mlxcel_integrations.supervisor.single_flight import StartCancelled
from mlxcel_integrations.transport.endpoint import Endpoint
from tests.fakes.server import FakeServer
from tests.faults.raw_socket_server import RawServer

from .conftest import Fake


def launch(binary: str, cancelled_within: Callable[[float], bool]) -> ServerProcess:
    spawned: list[tuple[ServerProcess, Endpoint]] = []
    spec = ServerSpec("m", ServerOptions(binary=binary))
    try:
        Launcher(spec, lambda *what: spawned.append(what), cancelled_within).run()
    finally:
        for process, endpoint in spawned:
            assert endpoint.socket == process.path
    return spawned[0][0]


def sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def test_a_launched_process_is_ready_and_answers(fake: Fake) -> None:
    process = launch(fake.binary(), sleep)

    assert process.serves
    assert 200 == health_status(Endpoint.parse(None, process.path))
    process.stop()


@pytest.mark.parametrize("share", ["process", "user"])
@pytest.mark.parametrize("program", [None, ""])
def test_a_python_that_does_not_know_its_program_starts_nothing(
    program: str | None, share: str, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As within another program."""
    server = fake.server(fake.binary(), share=share)
    monkeypatch.setattr(sys, "executable", program)

    with pytest.raises(MlxcelServerError, match=r"sys\.executable is empty"):
        server.start()


def test_a_cancelled_launch_leaves_nothing(fake: Fake) -> None:
    with pytest.raises(StartCancelled, match=r"The start of the server for 'm' was cancelled"):
        launch(fake.binary(), lambda seconds: True)

    assert ([], []) == (fake.running, fake.directories)


def test_health_is_the_status_of_whoever_answers(tmp_path: Path) -> None:
    with FakeServer() as server:
        assert 200 == health_status(Endpoint.parse(server.url, None))
    assert health_status(Endpoint.parse(None, tmp_path / "none.sock")) is None


def test_a_server_without_a_free_slot_is_ready_and_one_that_loads_is_not() -> None:
    """Both answer 503 up to mlxcel 0.4.2."""
    with FakeServer("v0.4.2") as server:
        server.busy = True
        assert 200 == health_status(Endpoint.parse(server.url, None))
        server.loading = True
        assert 503 == health_status(Endpoint.parse(server.url, None))


def test_a_server_that_loads_weights_is_asked_seldom_and_noticed_at_once(
    fake: Fake, tmp_path: Path
) -> None:
    times = tmp_path / "times"
    binary = fake.binary(
        LOAD_SECONDS="3", TIMES=str(times), LOG_LINES='["INFO mlxcel: loading model..."]'
    )
    fake.server(binary, warmup=False).start()
    ended = time.monotonic()

    lines = [json.loads(line) for line in times.read_text().splitlines()]
    ready = next(line["at"] for line in lines if line["event"] == "ready")
    asked = [line for line in lines if "/health" in line["event"]]
    assert 3 <= len(asked) <= 40
    assert ended - ready < 0.5


BACKTRACE = """
echo "Error: model '/models/nope' is neither an existing path nor a repo-id." >&2
echo >&2
echo "Stack backtrace:" >&2
for number in $(seq 0 44); do
    echo "  $number: mlxcel::commands::serve::run_serve::{{closure}}" >&2
    echo "             at /rustc/lib.rs:12:5" >&2
done
exit 1
"""


def test_the_reason_of_an_end_is_found_above_a_backtrace(fake: Fake) -> None:
    with pytest.raises(MlxcelServerError) as caught:
        fake.server(fake.script(BACKTRACE)).start()

    assert "It said:\n  | Error: model '/models/nope' is neither" in str(caught.value)
    assert "run_serve" not in str(caught.value)
    assert "run_serve" in caught.value.stderr


QWEN = "mlx-community/Qwen3-4B-4bit"


@pytest.fixture
def qwen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """mlxcel has downloaded one model."""
    directory = tmp_path / "store" / QWEN
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    monkeypatch.setenv("MLXCEL_MODELS_DIR", str(tmp_path / "store"))


@pytest.mark.usefixtures("qwen")
@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            "mlx-comunity/Qwen3-4B-4bit",
            f" Did you mean {QWEN!r}, which mlxcel has on this machine? It said:",
        ),
        ("mlx-comunity/Phi-4", " Did you mean 'mlx-community/Phi-4'? It said:"),
        ("someone/Phi-4", " It said:"),
    ],
)
def test_a_model_that_is_not_found_is_told_with_what_may_be_meant(
    model: str, sentence: str, fake: Fake
) -> None:
    binary = fake.binary(FAIL=f"failed to download model {model!r}: 404 Not Found")

    with pytest.raises(MlxcelServerError) as caught:
        fake.server(binary, model).start()

    assert f"before it was ready.{sentence}\n" in str(caught.value)


@pytest.mark.usefixtures("qwen")
@pytest.mark.parametrize("way", ["fails", "garbage"])
def test_a_list_of_models_that_fails_does_not_hide_the_reason(way: str, fake: Fake) -> None:
    model = "mlx-community/Qwen3-4B-4bits"
    binary = fake.binary(FAIL=f"failed to download model {model!r}: 404 Not Found", LIST=way)

    with pytest.raises(MlxcelServerError, match=r"(?s)ready\. It said:\n.*404 Not Found"):
        fake.server(binary, model).start()


@pytest.mark.usefixtures("qwen")
def test_a_start_that_fails_for_another_reason_lists_no_models(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlxcel_integrations.supervisor.launcher.list_local_models", None)

    with pytest.raises(MlxcelServerError, match=r"ready\. It said:"):
        fake.server(fake.binary(FAIL="out of memory"), "mlx-comunity/Qwen3-4B-4bit").start()


def test_nobody_answers_on_a_free_port_or_on_one_that_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = Endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        assert health_status(endpoint) is None
        assert 0.9 < time.monotonic() - began < 2
    assert health_status(endpoint) is None


DRIPPING = {
    "headers": (b"HTTP/1.1 200 OK\r\nx-slow: ", b"a"),
    "informational responses": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "the body of an error": (b"HTTP/1.1 503 Oh\r\ncontent-length: 99\r\n\r\n", b"a"),
}


@pytest.mark.parametrize("part", DRIPPING)
def test_nobody_answers_on_a_port_that_drips(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its bytes comes in time, and a start would wait for all of them."""
    head, piece = DRIPPING[part]

    def drip(_: RawServer, connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(0.05)

    monkeypatch.setattr("mlxcel_integrations.supervisor.launcher._HEALTH_SECONDS", 0.2)
    with RawServer(drip) as server:
        began = time.monotonic()
        assert health_status(Endpoint.parse(server.url, None)) is None
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("warmup", [True, False])
def test_weights_that_cannot_be_loaded_are_told(
    fake: Fake, warmup: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # That it is 3 s, `test_readiness` shows without a process.
    monkeypatch.setattr("mlxcel_integrations.supervisor.readiness.LOAD_FAILURE_SECONDS", 0.3)
    server = fake.server(fake.binary(WEIGHTS_FAIL="1"), warmup=warmup)

    with pytest.raises(MlxcelServerError, match="cannot load the model") as caught:
        server.start()
    assert not isinstance(caught.value, MlxcelTimeoutError)
    assert "(failed to load the model's weights: unsupported tensor)" in str(caught.value)
    assert ([], []) == (fake.running, fake.directories)


def test_a_server_that_falls_silent_is_given_up(fake: Fake) -> None:
    server = fake.server(fake.binary(LOAD_SECONDS="60"), stall_timeout=0.5)

    with pytest.raises(MlxcelTimeoutError, match=r"silent for 0\.5 s .* Raise stall_timeout="):
        server.start()
    assert ([], []) == (fake.running, fake.directories)


def test_a_download_may_take_longer_than_the_start(fake: Fake) -> None:
    """A repository is downloaded before it is loaded."""
    server = fake.server(fake.binary(LOAD_SECONDS="1.5"), model="org/name", startup_timeout=0.8)

    server.start()
    assert [server.pid] == fake.running
