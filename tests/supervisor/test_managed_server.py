"""A managed server from its start to its end, as a real process."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import re
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from mlxcel_integrations import (
    LLM,
    ManagedServer,
    MlxcelError,
    MlxcelServerError,
    MlxcelTimeoutError,
)
from mlxcel_integrations.supervisor.guard import DIRECTORY_VARIABLE
from tests.fakes.server import FakeServer

from .conftest import Fake, runs, wait_until


@contextlib.contextmanager
def took(at_least: float = 0.0, *, less_than: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert at_least <= time.monotonic() - began < less_than


# --------------------------------------------------------------------------- start


def test_nothing_happens_before_the_start(fake: Fake) -> None:
    server = fake.server("/no/such/program")

    assert (None, None, None, "") == (server.pid, server.poll(), server.end(), server.log_tail)
    assert server.wait() is None
    with pytest.raises(MlxcelServerError, match="has not been started"):
        _ = server.base_url
    server.close()


def test_a_started_server_answers_on_a_private_socket(fake: Fake) -> None:
    server = fake.server(fake.binary()).start()

    assert server.socket is not None
    assert f"unix://{server.socket}" == server.base_url
    directory = Path(server.socket).parent
    assert 0o700 == stat.S_IMODE(directory.stat().st_mode)
    assert [directory.name] == fake.directories
    assert ([server.pid], None) == (fake.running, server.poll())
    with LLM(socket=server.socket) as llm:
        assert "echo: hi" == llm.chat("hi")
    server.close()
    assert ([], []) == (fake.running, fake.directories)


def test_a_start_is_two_lines_of_the_log(fake: Fake, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mlxcel.client"):
        fake.server(fake.binary()).start()

    begins, ready = [text for name, _, text in caplog.record_tuples if name == "mlxcel.client"]
    assert "Starting m." == begins
    assert re.fullmatch(r"m is ready after \d+\.\d s\.", ready)


def test_the_key_is_in_the_environment_only(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_ARG_API_PREFIX", "/elsewhere")
    monkeypatch.setenv("LLAMA_ARG_PORT", "1")
    monkeypatch.setenv("MLXCEL_API_KEY", "inherited")

    server = fake.server(fake.binary(), api_key="sk-secret").start()

    (start,) = fake.starts
    assert "sk-secret" not in " ".join(start["argv"])
    seen = {key: value for key, value in start["environment"].items() if "FAKE" not in key}
    assert "sk-secret" == seen.pop("LLAMA_API_KEY")
    assert [DIRECTORY_VARIABLE] == list(seen)
    assert "sk-secret" not in repr(server)


def test_a_server_that_is_ready_is_noticed_at_once(
    fake: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    binary = fake.binary(LOAD_SECONDS="0.3")

    def noticed() -> float:
        caplog.clear()
        with caplog.at_level(logging.INFO, "mlxcel.server"), fake.server(binary):
            ended = time.time()
            assert wait_until(lambda: "listening on" in caplog.text)
        listening = [line.created for line in caplog.records if "listening on" in line.message]
        return ended - listening[0]

    # A busy machine takes the processor away now and then, but not each time.
    assert any(noticed() < 0.1 for _ in range(3))


@pytest.mark.parametrize("newlines", ["0", "1"])
def test_a_flood_of_output_does_not_block_the_start(newlines: str, fake: Fake) -> None:
    binary = fake.binary(STDOUT_BYTES="2000000", STDOUT_NEWLINES=newlines)

    with took(less_than=10):
        server = fake.server(binary, startup_timeout=10).start()

    assert wait_until(lambda: "listening on" in server.log_tail)
    assert len(server.log_tail) <= 65 * 1024


def test_many_threads_start_one_process(fake: Fake) -> None:
    server = fake.server(fake.binary(LOAD_SECONDS="0.1"))
    barrier = threading.Barrier(8)

    def start(_: int) -> int | None:
        barrier.wait()
        while server.start().log_tail == "":
            pass
        return server.start().pid

    with ThreadPoolExecutor(8) as threads:
        pids = set(threads.map(start, range(8)))

    assert {server.pid} == pids
    assert 1 == len(fake.starts)


def test_tcp_on_a_free_port(fake: Fake) -> None:
    server = fake.server(fake.binary(), host="0.0.0.0").start()

    assert server.socket is None
    assert server.base_url.startswith("http://127.0.0.1:")
    assert "0.0.0.0" in fake.starts[0]["argv"]
    assert 200 == httpx.get(server.base_url + "/health", trust_env=False).status_code
    server.close()
    assert [] == fake.directories


def test_a_chosen_socket_is_removed_with_the_server(fake: Fake) -> None:
    path = fake.runtime / "mine.sock"
    server = fake.server(fake.binary(), socket=path)
    for _ in range(2):
        server.start()
        assert str(path) == server.socket
        assert "mine.sock" in fake.directories
        server.close()
        assert [] == fake.directories
    server.start()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server.wait(5)
    assert [] == fake.directories
    server.start()
    assert server.poll() is None


# --------------------------------------------------------------------------- starts that fail


def test_an_early_end_is_noticed_at_once_and_told(fake: Fake) -> None:
    binary = fake.script("echo loading; sleep 0.6; echo 'Error: no memory' >&2; exit 3")
    server = fake.server(binary)

    with took(0.6, less_than=0.9), pytest.raises(MlxcelServerError) as caught:
        server.start()

    assert ("loading\nError: no memory", 3) == (caught.value.stderr, caught.value.returncode)
    assert "The server for 'm' ended with exit status 3 before it was ready" in str(caught.value)
    assert "| Error: no memory" in str(caught.value)
    assert (3, "the server ended with exit status 3") == (server.poll(), server.end())


def test_a_silent_end_is_told_as_such(fake: Fake) -> None:
    with pytest.raises(MlxcelServerError, match=r"SIGKILL.*It said nothing\.$") as caught:
        fake.server(fake.script("kill -9 $$")).start()

    assert -signal.SIGKILL == caught.value.returncode


def test_an_end_with_a_child_that_keeps_the_pipe_is_noticed_at_once(fake: Fake) -> None:
    binary = fake.script(f"sleep 600 & echo $! > {fake.runtime}/child; echo Error: x; exit 1")

    with took(less_than=0.4), pytest.raises(MlxcelServerError, match="Error: x"):
        fake.server(binary).start()

    child = fake.runtime / "child"
    assert wait_until(lambda: not runs(int(child.read_text())))
    child.unlink()


def test_the_key_is_not_in_the_error(fake: Fake) -> None:
    binary = fake.script('echo "key $LLAMA_API_KEY"; exit 1')

    with pytest.raises(MlxcelServerError, match=r"key \*\*\*") as caught:
        fake.server(binary, api_key="sk-secret").start()
    assert "sk-secret" not in str(caught.value) + caught.value.stderr


def test_a_server_that_is_late_is_ended(fake: Fake) -> None:
    server = fake.server(fake.binary(WEIGHTS_FAIL="1"), startup_timeout=0.5)

    with took(0.5, less_than=1.5), pytest.raises(MlxcelTimeoutError) as caught:
        server.start()

    assert "not ready within 0.5 s. Raise startup_timeout=" in str(caught.value)
    assert "failed to load the model's weights" in caught.value.stderr
    assert ([], []) == (fake.running, fake.directories)


def test_a_program_that_is_no_server_is_told_apart(fake: Fake) -> None:
    server = fake.server(fake.binary(), extra_args=("--api-prefix", "/x"))

    with pytest.raises(MlxcelServerError, match="is not a model server: it has no /health"):
        server.start()
    assert ([], []) == (fake.running, fake.directories)


def test_a_start_that_failed_can_be_repeated(fake: Fake, tmp_path: Path) -> None:
    model = tmp_path / "model"
    server = fake.server(fake.binary(), str(model))

    for _ in range(2):
        with pytest.raises(MlxcelServerError, match="model path not found"):
            server.start()
        assert [] == fake.directories
    model.mkdir()
    assert server.start().poll() is None


def test_all_who_wait_for_a_start_that_fails_are_told(fake: Fake) -> None:
    server = fake.server(fake.binary(FAIL="boom", LOAD_SECONDS="0.3"))

    def start(_: int) -> str:
        with pytest.raises(MlxcelServerError) as caught:
            server.start()
        return caught.value.stderr

    with ThreadPoolExecutor(4) as threads:
        for told in threads.map(start, range(4)):
            assert "Error: boom" in told
    assert 1 == len(fake.starts)


def test_close_ends_a_start_in_another_thread(fake: Fake) -> None:
    server = fake.server(fake.binary(LOAD_SECONDS="60"))
    with ThreadPoolExecutor(1) as threads:
        start = threads.submit(server.start)
        fake.wait_for_start()
        with took(less_than=1):
            server.close()
        assert ([], []) == (fake.running, fake.directories)
        with pytest.raises(MlxcelServerError, match="was cancelled"):
            start.result(1)


def test_a_port_that_is_taken_runs_nothing(fake: Fake) -> None:
    with FakeServer() as other, pytest.raises(MlxcelError, match="Another program listens"):
        fake.server(fake.binary(), port=other.port).start()
    assert [] == fake.starts


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"startup_timout": 1},
            "'startup_timout' is not an option.*Did you mean 'startup_timeout'",
        ),
        ({"frobnicate": 1}, "'frobnicate' is not an option.*options are .*ctx_size"),
        ({"port": 70000}, "port=70000 must be at most 65535"),
        ({"shutdown_grace": -1}, "shutdown_grace="),
        ({"extra_args": "--metrics"}, "extra_args="),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_runs(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(MlxcelError, match=f"(?s){told}"):
        ManagedServer("m", **options)
    with pytest.raises(MlxcelError, match=f"(?s){told}"):
        LLM("m", **options)


# --------------------------------------------------------------------------- end


def test_sigterm_ends_it_within_milliseconds(fake: Fake) -> None:
    server = fake.server(fake.binary()).start()

    with took(less_than=0.3):
        server.close()

    assert -signal.SIGTERM == server.poll() == server.wait()
    assert "the server ended with signal 15 (SIGTERM)" == server.end()


@pytest.mark.parametrize("wrapper", [False, True])
def test_what_ignores_sigterm_is_killed_after_the_grace(wrapper: bool, fake: Fake) -> None:
    binary = fake.binary(wrapper=wrapper, IGNORE_SIGTERM="1", CHILD="1")
    server = fake.server(binary, shutdown_grace=0.3).start()
    assert len(fake.running) == 2 + wrapper

    with took(0 if wrapper else 0.3, less_than=1):
        server.close()

    fake.wait_for_nothing()


def test_a_wrapper_and_a_grandchild_end_with_the_server(fake: Fake) -> None:
    server = fake.server(fake.binary(wrapper=True, CHILD="1")).start()
    assert server.pid in fake.running
    assert 3 == len(fake.running)

    server.close()

    fake.wait_for_nothing()


def test_a_grandchild_of_a_server_that_died_ends_with_it(fake: Fake) -> None:
    server = fake.server(fake.binary(CHILD="1")).start()
    assert server.pid is not None

    os.kill(server.pid, signal.SIGKILL)

    assert -signal.SIGKILL == server.wait(5)
    assert wait_until(lambda: [] == fake.running)


def test_an_exception_in_the_block_ends_it(fake: Fake) -> None:
    with pytest.raises(ZeroDivisionError), fake.server(fake.binary()):
        _ = 1 / (len(fake.running) - 1)

    assert ([], []) == (fake.running, fake.directories)


def test_it_ends_with_the_object(fake: Fake) -> None:
    server = ManagedServer("m", binary=fake.binary()).start()
    assert 1 == len(fake.running)

    del server
    gc.collect()

    fake.wait_for_nothing()


def test_close_may_be_repeated_and_comes_from_any_thread(fake: Fake) -> None:
    server = fake.server(fake.binary()).start()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: server.close(), range(8)))

    assert ([], []) == (fake.running, fake.directories)


def test_what_ended_is_never_signalled_again(fake: Fake) -> None:
    """By then its number may be that of somebody else's process group."""
    server = fake.server(fake.binary()).start()
    pid = server.pid
    server.close()
    with sleeper_in_group(pid) as stranger:
        server.close()
        assert stranger.poll() is None


@contextlib.contextmanager
def sleeper_in_group(pid: int | None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process under a number that was used before; skip where that cannot be arranged."""
    last_pid = Path("/proc/sys/kernel/ns_last_pid")
    try:
        assert pid is not None
        last_pid.write_text(str(pid - 1))
    except OSError:
        pytest.skip("process numbers cannot be chosen here")
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        if process.pid != pid:
            pytest.skip("another process took the number")
        yield process
    finally:
        process.kill()
        process.wait()


def test_wait_and_end_tell_how_it_ended(fake: Fake) -> None:
    server = fake.server(fake.binary()).start()
    assert server.pid is not None
    with pytest.raises(subprocess.TimeoutExpired):
        server.wait(0.01)

    os.kill(server.pid, signal.SIGKILL)

    assert -signal.SIGKILL == server.wait(5)
    assert "signal 9 (SIGKILL; the system may have run out of memory)" in (server.end() or "")


def test_a_server_that_ended_is_started_again(fake: Fake) -> None:
    server = fake.server(fake.binary()).start()
    first = server.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    server.wait(5)

    second = server.start().pid

    assert [second] == fake.running
    assert 1 == len(fake.directories)


def test_ten_cycles_leave_nothing(fake: Fake) -> None:
    process = psutil.Process()
    binary = fake.binary()

    def cycle() -> None:
        with fake.server(binary):
            pass

    def held() -> tuple[int, int, int]:
        return process.num_fds(), threading.active_count(), len(process.children(recursive=True))

    cycle()
    before = held()
    for _ in range(10):
        cycle()

    assert wait_until(lambda: held() <= before), (before, held())
    assert ([], []) == (fake.running, fake.directories)
