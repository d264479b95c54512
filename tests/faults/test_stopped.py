"""Processes of ours that were stopped, as by SIGSTOP: nobody waits for them for ever."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from mlxcel_integrations import LLM, AsyncLLM, MlxcelError, MlxcelTimeoutError
from mlxcel_integrations.supervisor.broker_directory import BrokerDirectory
from tests.supervisor.conftest import Fake, wait_until
from tests.supervisor.test_guard import guard_of, linux
from tests.supervisor.test_programs import program
from tests.supervisor.test_shared_process import broker_of, place_of, shared

LIMIT = 20.0
"""Much more than the limits of a start or an end in these tests, on a busy machine too."""

SILENT = r"broker of the shared server \(process {}\) has not answered within {} s.*kill -CONT {}"


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    process.suspend()
    assert wait_until(lambda: process.status() == psutil.STATUS_STOPPED)
    try:
        yield
    finally:
        if process.is_running():
            process.resume()


@contextmanager
def told(process: psutil.Process, seconds: str) -> Iterator[None]:
    """An error that names a process, long before anybody gives up."""
    began = time.monotonic()
    with pytest.raises(MlxcelTimeoutError, match=SILENT.format(process.pid, seconds, process.pid)):
        yield
    assert time.monotonic() - began < LIMIT


# --------------------------------------------------------------------------- a broker


def start(fake: Fake, binary: str, **options: Any) -> None:
    fake.server(binary, share="user", **options).start()


def chat(fake: Fake, binary: str, **options: Any) -> None:
    with LLM("m", binary=binary, share="user", **options) as llm:
        llm.chat("hi")


def achat(fake: Fake, binary: str, **options: Any) -> None:
    async def ask() -> None:
        async with AsyncLLM("m", binary=binary, share="user", **options) as llm:
            await llm.chat("hi")

    asyncio.run(ask())


@pytest.mark.parametrize("use", [chat, achat])
def test_a_start_says_that_the_broker_does_not_answer(use: Callable[..., None], fake: Fake) -> None:
    binary = fake.binary()
    with shared(fake, binary) as server:
        broker = broker_of(server)
        with stopped(broker), told(broker, "5"):
            use(fake, binary, keep_alive=0, startup_timeout=1, restart=0)
        assert server.poll() is None
    fake.wait_for_nothing()


def test_more_starts_than_a_stopped_broker_has_places_for(fake: Fake) -> None:
    """Not even their connections are accepted by the system."""
    binary = fake.binary()
    with shared(fake, binary) as server:
        broker = broker_of(server)
        with stopped(broker), contextlib.ExitStack() as others:
            with contextlib.suppress(BlockingIOError):
                while True:
                    other = others.enter_context(socket.socket(socket.AF_UNIX))
                    other.setblocking(False)
                    other.connect(str(place_of(fake) / "broker.sock"))
            with told(broker, "5"):
                start(fake, binary, keep_alive=0, startup_timeout=1)
    fake.wait_for_nothing()


def test_a_start_that_waits_for_a_stopped_broker_can_be_given_up(fake: Fake) -> None:
    binary = fake.binary()
    with shared(fake, binary) as server, stopped(broker_of(server)):
        other = shared(fake, binary, startup_timeout=600)
        threading.Timer(0.3, other.close).start()
        began = time.monotonic()

        with pytest.raises(MlxcelError, match="was cancelled"):
            other.start()

        assert time.monotonic() - began < LIMIT


@pytest.mark.parametrize(
    ("verb", "seconds"), [("close", "5.5"), ("terminate", "5.5"), ("kill", "5")]
)
def test_an_end_says_that_the_broker_does_not_answer(verb: str, seconds: str, fake: Fake) -> None:
    server = shared(fake, fake.binary(), shutdown_grace=0.5).start()
    broker = broker_of(server)

    with stopped(broker), told(broker, seconds):
        getattr(server, verb)()
        server.wait()
    server.close()
    fake.wait_for_nothing()


def test_a_server_that_ends_is_noticed_without_its_broker(fake: Fake) -> None:
    server = shared(fake, fake.binary(), startup_timeout=1).start()
    broker = broker_of(server)
    with stopped(broker):
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)

        assert -signal.SIGKILL == server.wait(LIMIT)
        assert f"its broker (process {broker.pid}) does not answer" in str(server.end())
        with told(broker, "5"):
            server.start()
        server.close()
    fake.wait_for_nothing(10)


def test_a_process_that_keeps_the_lock_holds_up_neither_starts_nor_the_end(fake: Fake) -> None:
    """It may be stopped just when it is about to connect."""
    binary = fake.binary()
    server = shared(fake, binary).start()
    directory = BrokerDirectory.at(place_of(fake))
    lock = directory.try_lock()
    assert lock is not None
    directory.note_process(lock, os.getpid())

    with pytest.raises(MlxcelTimeoutError, match=rf"\(process {os.getpid()}\) has not answered"):
        start(fake, binary, keep_alive=0, startup_timeout=1)
    server.close()
    assert [] == fake.running
    os.close(lock)
    # What the broker could not remove, the next start does.
    with shared(fake, binary):
        pass
    fake.wait_for_nothing()


# --------------------------------------------------------------------------- a guard


def stop_guard_of(pid: int) -> None:
    process = guard_of(pid)

    def stays_stopped() -> bool:
        # The end of the thread that has started a guard continues it, as that of its process does.
        process.suspend()
        time.sleep(0.1)
        return process.status() == psutil.STATUS_STOPPED

    assert wait_until(stays_stopped)


def test_a_server_that_ends_is_noticed_without_its_guard(fake: Fake) -> None:
    server = fake.server(fake.binary()).start()
    assert server.pid is not None
    stop_guard_of(server.pid)
    os.kill(server.pid, signal.SIGKILL)

    assert -signal.SIGKILL == server.wait(LIMIT)
    assert "its guard process did not answer" in str(server.end())
    server.start()
    server.close()
    fake.wait_for_nothing()


@pytest.mark.parametrize("share", ["process", "user"])
@pytest.mark.parametrize("verb", ["close", "terminate", "kill"])
def test_an_end_does_not_need_the_guard(verb: str, share: str, fake: Fake) -> None:
    options = {"keep_alive": 0} if share == "user" else {}
    server = fake.server(fake.binary(), share=share, shutdown_grace=0.5, **options).start()
    assert server.pid is not None
    stop_guard_of(server.pid)

    getattr(server, verb)()

    assert -signal.SIGKILL == server.wait(LIMIT)
    server.close()
    fake.wait_for_nothing()


@linux
@pytest.mark.parametrize("wrapper", [False, True])
def test_a_stopped_guard_goes_on_when_its_owner_is_killed(wrapper: bool, fake: Fake) -> None:
    body = "llm = LLM('m', binary=binary).start(); say('ready'); time.sleep(60)"
    with program(body, fake.binary(wrapper=wrapper)) as owner:
        assert owner.stdout is not None
        assert "ready\n" == owner.stdout.readline()
        guard_of(fake.starts[0]["pgid"]).suspend()
        owner.kill()
        owner.wait()

        fake.wait_for_nothing()


# --------------------------------------------------------------------------- a user of the server


def test_users_that_are_stopped_hold_up_nobody(fake: Fake) -> None:
    binary = fake.binary()
    body = (
        f"llm = LLM('m', binary={binary!r}, share='user', keep_alive=0); say(llm.chat('hi'))\n"
        "time.sleep(60)"
    )
    with program(body, binary) as one, program(body, binary) as two:
        for user in (one, two):
            assert user.stdout is not None
            assert "echo: hi\n" == user.stdout.readline()
            user.send_signal(signal.SIGSTOP)
        with shared(fake, binary) as server:
            server.terminate()
            assert -signal.SIGTERM == server.wait(LIMIT)
    fake.wait_for_nothing()
