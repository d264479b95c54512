"""However a user's program ends, its server goes with it; what it forks does not count."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import WARNINGS_ARE_ERRORS

from .conftest import Fake

ROOT = Path(__file__).parents[2]
PREAMBLE = """
import os, signal, sys, time
from mlxcel_integrations import LLM, ManagedServer
binary = sys.argv[1]
def say(*words):
    print(*words, flush=True)
"""


@contextmanager
def program(body: str, binary: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program in a process group of its own, with warnings as errors."""
    process = subprocess.Popen(
        [sys.executable, *WARNINGS_ARE_ERRORS, "-c", PREAMBLE + body, binary],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def result(body: str, binary: str) -> tuple[int, str, str]:
    with program(body, binary) as process:
        out, error = process.communicate(timeout=60)
        return process.returncode, out, error


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("LLM('m', binary=binary).start(); llm = LLM('m', binary=binary).start()", 0),
        ("server = ManagedServer('m', binary=binary).start(); 1 / 0", 1),
    ],
    ids=["end", "exception"],
)
def test_a_program_that_ends_takes_its_server_with_it(body: str, code: int, fake: Fake) -> None:
    returncode, _, error = result(body, fake.binary())

    assert code == returncode
    assert ("ZeroDivisionError" if code == 1 else "") in error
    assert "" == error or code == 1
    assert fake.starts
    assert ([], []) == (fake.running, fake.directories)


@pytest.mark.usefixtures("unmeasured")
def test_a_program_that_ends_during_a_start_takes_its_server_with_it(fake: Fake) -> None:
    body = """
import threading
server = ManagedServer("m", binary=binary)
threading.Thread(target=server.start, daemon=True).start()
while server.pid is None:
    time.sleep(0.001)
"""
    returncode, _, error = result(body, fake.binary(LOAD_SECONDS="60"))

    assert (0, "") == (returncode, error)
    assert ([], []) == (fake.running, fake.directories)


@pytest.mark.parametrize(
    "body",
    [
        "LLM('m', binary=binary).chat('hi')",
        "import asyncio; asyncio.run(ManagedServer('m', binary=binary).astart())",
    ],
    ids=["start", "astart"],
)
def test_ctrl_c_during_a_start_leaves_nothing(body: str, fake: Fake) -> None:
    with program(body, fake.binary(LOAD_SECONDS="60")) as process:
        fake.wait_for_start()
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=60)

    assert -signal.SIGINT == process.returncode
    assert error.rstrip().endswith("KeyboardInterrupt")
    assert ([], []) == (fake.running, fake.directories)


def test_ctrl_c_during_use_leaves_nothing(fake: Fake) -> None:
    body = "llm = LLM('m', binary=binary); say(llm.chat('hi')); time.sleep(60)"
    with program(body, fake.binary()) as process:
        assert process.stdout is not None
        assert "echo: hi\n" == process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)

    assert -signal.SIGINT == process.returncode
    assert ([], []) == (fake.running, fake.directories)


def test_a_program_that_catches_ctrl_c_keeps_its_server(fake: Fake) -> None:
    body = """
with LLM("m", binary=binary) as llm:
    try:
        say("ready")
        time.sleep(60)
    except KeyboardInterrupt:
        say(llm.chat("still here"))
"""
    with program(body, fake.binary()) as process:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        out, error = process.communicate(timeout=60)

    assert ("echo: still here\n", "", 0) == (out, error, process.returncode)
    assert 1 == len(fake.starts)
    assert ([], []) == (fake.running, fake.directories)


# Forking beside threads is what some programs do, though Python 3.12 warns of it. A child must
# not even close the connections that it inherits.
FORK = """
import gc, warnings
warnings.filterwarnings("ignore", "This process")
warnings.filterwarnings("ignore", "unclosed <socket", ResourceWarning)
llm = LLM("m", binary=binary).start()
"""


def test_a_forked_child_may_use_the_server_but_does_not_end_it(fake: Fake) -> None:
    body = """
def end(how):
    global llm, server
    say(llm.chat("child"), server.poll())
    if how == "close":
        llm.close()
        server.close()
    elif how == "collect":
        del llm, server
        gc.collect()
    elif how == "_exit":
        os._exit(0)
    sys.exit()

server = ManagedServer("other", binary=binary).start()
for how in ("exit", "close", "collect", "_exit"):
    child = os.fork()
    if child == 0:
        end(how)
    say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    say(llm.chat("parent"), os.path.exists(server.socket), server.poll())
"""
    returncode, out, error = result(FORK + body, fake.binary())

    assert ["echo: child None", "0", "echo: parent True None"] * 4 == out.splitlines()
    assert (0, "") == (returncode, error)
    assert 2 == len(fake.starts)
    assert ([], []) == (fake.running, fake.directories)


def test_a_pool_of_forked_workers_leaves_the_server_alone(fake: Fake) -> None:
    body = """
import multiprocessing
def work(text):
    return llm.chat(text)
with multiprocessing.get_context("fork").Pool(2) as pool:
    say(pool.map(work, ["a", "b", "c"]))
say(llm.chat("after"))
"""
    returncode, out, error = result(FORK + body, fake.binary())

    assert "['echo: a', 'echo: b', 'echo: c']\necho: after\n" == out
    assert (0, "") == (returncode, error)
    assert 1 == len(fake.starts)
