"""``share="user"``: one server for all processes of a user, and none when nobody needs it."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlxcel_integrations import LLM, ManagedServer, MlxcelError, MlxcelServerError

from .conftest import Fake, runs, wait_until

ROOT = Path(__file__).parents[2]

# Starts a server, prints its process id, then does what it is told.
USER = """
import os, sys, time
from mlxcel_integrations import LLM
binary, options, body = sys.argv[1:]
llm = LLM("m", binary=binary, share="user", **eval(options)).start()
print(llm._connection.server.pid, flush=True)
exec(body)
"""


class User:
    """Another process that uses the server."""

    def __init__(self, binary: str, options: dict[str, Any], body: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, binary, repr(options), body],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdout is not None
        self.server_pid = int(self.process.stdout.readline())

    def leave(self) -> None:
        self.process.communicate("\n", timeout=10)


@pytest.fixture
def user(fake: Fake) -> Iterator[Callable[..., User]]:
    """Start other processes that hold a lease until a line arrives on their stdin."""
    users: list[User] = []

    def start(binary: str, body: str = "sys.stdin.readline()", **options: Any) -> User:
        users.append(User(binary, {"keep_alive": 0, **options}, body))
        return users[-1]

    yield start
    for one in users:
        one.process.kill()
        one.process.communicate()
    fake.wait_for_nothing()


def shared(fake: Fake, binary: str, keep_alive: float = 0, **options: Any) -> ManagedServer:
    return fake.server(binary, share="user", keep_alive=keep_alive, **options)


def place_of(fake: Fake) -> Path:
    (place,) = (fake.runtime / f"mlxcel-{os.geteuid()}").iterdir()
    return place


def broker_of(server: ManagedServer) -> psutil.Process:
    assert server.pid is not None
    guard = psutil.Process(server.pid).parent()
    assert guard is not None
    broker = guard.parent()
    assert broker is not None
    assert any("broker" in word for word in broker.cmdline())
    return broker


def test_two_processes_use_one_server_and_the_last_one_to_close_stops_it(
    fake: Fake, user: Callable[..., User]
) -> None:
    binary = fake.binary()
    with shared(fake, binary) as server:
        other = user(binary)

        assert other.server_pid == server.pid
        other.leave()
        assert server.poll() is None
        assert "ready" == server.state
    assert [] == fake.running
    assert [] == fake.directories
    assert 1 == len(fake.starts)


@pytest.mark.parametrize("options", [{}, {"share": "user", "keep_alive": 0}])
def test_what_shapes_kept_prompts_is_looked_at_before_a_start_and_when_it_is_ready(
    options: dict[str, Any], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    looks: list[object] = []

    def look(*given: object) -> str:
        looks.append(given)
        return "kind"

    monkeypatch.setattr("mlxcel_integrations.supervisor.invocation.slot_compatibility_key", look)
    binary = fake.binary("llama-server", GENERATION="newest")
    with fake.server(binary, keep_prompts=True, **options):
        assert 2 == len(looks)


def test_it_stays_for_a_while_after_its_last_user(fake: Fake, user: Callable[..., User]) -> None:
    binary = fake.binary()
    first = user(binary, keep_alive=1.0)
    first.leave()

    with shared(fake, binary, keep_alive=0.3) as server:
        assert first.server_pid == server.pid
    left = time.monotonic()
    assert runs(first.server_pid)
    fake.wait_for_nothing()
    assert 0.25 < time.monotonic() - left < 1.0


@pytest.mark.parametrize("sibling", [False, True], ids=["alone", "with a forked sibling"])
def test_a_lease_ends_with_a_process_that_is_killed(
    sibling: bool, fake: Fake, user: Callable[..., User]
) -> None:
    body = "time.sleep(60)"
    if sibling:
        body = "pid = os.fork(); pid and print(pid, flush=True); time.sleep(60)"
    one = user(fake.binary(), body)
    forked = int(one.process.stdout.readline()) if sibling and one.process.stdout else None

    one.process.kill()

    fake.wait_for_nothing()
    if forked is not None:
        os.kill(forked, signal.SIGKILL)


def test_who_joins_sees_what_the_server_has_printed_and_what_it_prints(
    fake: Fake, user: Callable[..., User], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="mlxcel.server")
    lines = ["日本語 café", *(f"line {n}" for n in range(50))]
    binary = fake.binary(LOG_LINES=json.dumps(lines), LOAD_SECONDS="1")
    first = shared(fake, binary)
    starter = threading.Thread(target=first.start)
    starter.start()
    fake.wait_for_start()
    with shared(fake, binary) as second:
        starter.join()
        assert wait_until(lambda: "listening on" in second.log_tail)
        printed = second.log_tail.splitlines()

        assert lines == [line for line in printed if line in lines]
        assert first.log_tail.splitlines() == printed
        assert "日本語 café" in caplog.messages
    first.close()
    fake.wait_for_nothing()


@contextmanager
def broken(victim: str, server: ManagedServer) -> Iterator[None]:
    pid = server.pid
    assert pid is not None
    process = psutil.Process(pid)
    if victim != "server":
        process = broker_of(server)
    if victim == "guard":
        (process,) = process.children()
    process.kill()
    yield
    assert not runs(pid)


@pytest.mark.parametrize(
    ("victim", "cause"),
    [
        ("server", "signal 9 (SIGKILL; the system may have run out of memory)"),
        ("guard", "its guard process, which something else has killed"),
        ("broker", "its broker process, which something else has killed"),
    ],
)
def test_an_end_is_told_to_all_and_the_next_call_starts_another(
    victim: str, cause: str, fake: Fake, user: Callable[..., User]
) -> None:
    binary = fake.binary()
    other = user(binary, "sys.stdin.readline(); llm.chat('a'); sys.stdin.readline()")
    server = shared(fake, binary).start()
    before = server.pid

    with broken(victim, server):
        assert -signal.SIGKILL == server.wait(5)
    assert f"the server ended with {cause}" == server.end()
    assert "failed" == server.state
    server.start()

    assert server.pid != before
    other.leave()
    server.close()
    fake.wait_for_nothing()
    assert 2 == len(fake.starts)


def test_a_start_that_fails_is_told_to_all_who_wait(fake: Fake) -> None:
    binary = fake.binary(FAIL="no such model", LOAD_SECONDS="0.5")
    script = USER.replace(".start()", "") + "\nllm.start()"
    others = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                script.replace("print(", "(lambda *a, **k: None)("),
                binary,
                "{'keep_alive': 60}",
                "pass",
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for _ in range(2)
    ]

    for other in others:
        _, errors = other.communicate(timeout=20)
        assert "ended with exit status 1 before it was ready" in errors
        assert "Error: no such model" in errors
    fake.wait_for_nothing()


def test_a_start_that_is_given_up_leaves_nothing_whatever_keep_alive_says(fake: Fake) -> None:
    server = shared(fake, fake.binary(LOAD_SECONDS="60"), keep_alive=60, startup_timeout=0.5)

    with pytest.raises(MlxcelServerError, match="not ready within"):
        server.start()
    fake.wait_for_nothing()


def test_close_during_a_start_leaves_nothing(fake: Fake, user: Callable[..., User]) -> None:
    script = (
        "import sys, threading, time\n"
        "from mlxcel_integrations import ManagedServer, MlxcelServerError\n"
        "server = ManagedServer('m', binary=sys.argv[1], share='user')\n"
        "threading.Timer(0.5, server.close).start()\n"
        "try:\n server.start()\nexcept MlxcelServerError as error:\n print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, fake.binary(LOAD_SECONDS="60")],
        capture_output=True,
        text=True,
        timeout=20,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert "was cancelled" in done.stdout
    fake.wait_for_nothing()


def test_a_start_that_cannot_be_leaves_nothing(fake: Fake) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = shared(fake, fake.binary(), port=taken.getsockname()[1])
        with pytest.raises(MlxcelError, match="Another program listens"):
            server.start()
    program = Path(fake.script("true"))
    program.write_bytes(b"\x7fELF of another machine")
    with pytest.raises(MlxcelError, match="cannot be run"):
        shared(fake, str(program)).start()
    fake.wait_for_nothing()


@pytest.mark.parametrize("verb", ["terminate", "kill"])
def test_a_verb_ends_it_for_all(verb: str, fake: Fake, user: Callable[..., User]) -> None:
    binary = fake.binary()
    user(binary)
    server = shared(fake, binary).start()

    getattr(server, verb)()

    number = signal.SIGTERM if verb == "terminate" else signal.SIGKILL
    assert -number == server.wait(5)
    assert "stopped" == server.state
    fake.wait_for_nothing()


@pytest.mark.parametrize(
    "other", [{"api_key": "other"}, {"ctx_size": 4096}, {"port": None, "host": "127.0.0.1"}]
)
def test_only_what_is_the_same_is_shared(other: dict[str, Any], fake: Fake) -> None:
    binary = fake.binary()
    with (
        shared(fake, binary, api_key="key") as one,
        shared(fake, binary, **{"api_key": "key", **other}) as two,
        shared(fake, binary, api_key="key", keep_alive=0.5, startup_timeout=20) as three,
    ):
        assert one.pid != two.pid
        assert one.pid == three.pid
        # The ``keep_alive`` of the last lease counts.
        three.close()
    fake.wait_for_nothing(8)


def test_the_key_is_in_no_name_and_no_command_line(fake: Fake) -> None:
    with shared(fake, fake.binary(), api_key="k3y-k3y") as server:
        broker = broker_of(server)
        words = [
            word
            for process in (broker, *broker.children(recursive=True))
            for word in process.cmdline()
        ]
        assert not any("k3y" in word for word in (*words, str(place_of(fake))))
        assert "m" == LLM(socket=server.socket, api_key="k3y-k3y").model


def test_over_tcp_all_find_the_port_that_the_first_one_chose(
    fake: Fake, user: Callable[..., User]
) -> None:
    binary = fake.binary()
    other = user(binary, host="127.0.0.1")
    with shared(fake, binary, host="127.0.0.1") as server:
        assert other.server_pid == server.pid
        assert server.base_url.startswith("http://127.0.0.1:")
        assert LLM(base_url=server.base_url).models()


def test_a_directory_that_others_can_enter_is_refused(fake: Fake) -> None:
    place = fake.runtime / f"mlxcel-{os.geteuid()}"
    place.mkdir(mode=0o755)

    with pytest.raises(MlxcelServerError, match=r"other users can enter it.*XDG_RUNTIME"):
        shared(fake, fake.binary()).start()
    place.rmdir()


def test_sigterm_to_the_broker_stops_the_server(fake: Fake) -> None:
    server = shared(fake, fake.binary(), keep_alive=60).start()

    broker_of(server).terminate()

    assert -signal.SIGTERM == server.wait(5)
    fake.wait_for_nothing()


def test_what_a_killed_broker_leaves_is_removed_by_who_used_the_server(fake: Fake) -> None:
    server = shared(fake, fake.binary()).start()
    server_pid = server.pid
    place = place_of(fake)
    broker_of(server).kill()
    server.wait(5)
    # The guard ends after its server, and what it holds is not removed before.
    fake.wait_for_nothing()
    server.close()
    assert not place.exists()

    with server:
        assert server.pid != server_pid
    fake.wait_for_nothing()


def test_who_does_not_read_its_log_holds_up_nobody(fake: Fake, user: Callable[..., User]) -> None:
    binary = fake.binary(STDOUT_BYTES=str(8 << 20), LOAD_SECONDS="0.3")
    with shared(fake, binary) as server, socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(str(place_of(fake) / "broker.sock"))
        assert "pid" in json.loads(deaf.makefile().readline())
        assert LLM(socket=server.socket).models()
    fake.wait_for_nothing()


def test_a_forked_child_that_ends_does_not_end_the_lease(fake: Fake) -> None:
    server = shared(fake, fake.binary()).start()
    child = os.fork()
    if child == 0:
        try:
            server.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    assert server.poll() is None
    assert LLM(socket=server.socket).models()
    server.close()
    fake.wait_for_nothing()


def test_keep_alive_is_for_servers_of_the_user() -> None:
    with pytest.raises(MlxcelError, match="share"):
        ManagedServer("m", share="everybody")
