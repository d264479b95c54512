"""Whoever is the parent of the owner, or dies with it, nothing is left; threads do no harm."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests import WARNINGS_ARE_ERRORS
from tests.fakes.program import executable
from tests.supervisor.conftest import Fake, runs, wait_until
from tests.supervisor.test_guard import guard_of, linux
from tests.supervisor.test_programs import PREAMBLE, ROOT, program, result

STARTED = "llm = LLM('m', binary=binary); say(llm.chat('hi')); time.sleep(60)"


@linux
def test_the_owner_and_the_guard_are_killed_at_once(fake: Fake) -> None:
    """Nobody is left to remove the directory then; the next start does it."""
    binary = fake.binary()
    with program(STARTED, binary) as owner:
        assert owner.stdout is not None
        assert "echo: hi\n" == owner.stdout.readline()
        guard = guard_of(fake.starts[0]["pid"])
        # None of them sees the end of the other.
        for pid in (owner.pid, guard.pid):
            os.kill(pid, signal.SIGSTOP)
        for pid in (guard.pid, owner.pid):
            os.kill(pid, signal.SIGKILL)

        assert wait_until(lambda: not fake.running)
        assert wait_until(lambda: not runs(guard.pid))
    # The socket of a server listens until the last of its threads is dead.
    time.sleep(0.2)
    left = fake.directories

    with fake.server(binary) as server:
        assert server.socket is not None
        assert set(left).isdisjoint(fake.directories)


@linux
def test_the_owner_and_the_guard_are_killed_while_the_server_loads(fake: Fake) -> None:
    body = "say('starts'); LLM('m', binary=binary).start()"
    with program(body, fake.binary(LOAD_SECONDS="60", CHILD="1")) as owner:
        fake.wait_for_start()
        guard = guard_of(fake.starts[0]["pid"])
        for pid in (guard.pid, owner.pid):
            os.kill(pid, signal.SIGKILL)

        assert wait_until(lambda: not runs(fake.starts[0]["pid"]))
    time.sleep(0.2)
    # Its grandchild is known to nobody any more.
    os.kill(fake.starts[0]["child"], signal.SIGKILL)
    with fake.server(fake.binary()):
        pass
    fake.wait_for_nothing()


SUBREAPER = """
import ctypes
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
"""


@linux
@pytest.mark.parametrize("wrapper", [False, True])
def test_an_owner_that_is_a_subreaper_inherits_no_process(wrapper: bool, fake: Fake) -> None:
    """It inherits what its descendants leave behind, so they must leave nothing."""
    body = f"""{SUBREAPER}
with LLM("m", binary=binary) as llm:
    say(llm.chat("hi"))
try:
    say(os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    say("no child is left")
"""
    returncode, out, error = result(body, fake.binary(wrapper=wrapper))

    assert (0, "echo: hi\nno child is left\n", "") == (returncode, out, error)
    fake.wait_for_nothing()


ENDS = {
    "close": "llm.close()",
    "the server stays for a while": "llm.close(); time.sleep(0.7)",
    "the last reference": "del llm; time.sleep(0.7)",
    "the server is killed": "os.kill(server.pid, 9); server.wait(); llm.close()",
    "the guard is killed": "guard.kill(); server.wait(); llm.close()",
    "the broker is killed": "broker.kill(); server.wait(); time.sleep(0.5); llm.close()",
    "the broker and the guard are killed": """
for process in (guard, broker): process.suspend()
for process in (guard, broker): process.kill()
server.wait(); llm.close()""",
    "all are killed while the broker is to give the server back": """
import threading
broker.suspend()
closing = threading.Thread(target=llm.close)
closing.start()
time.sleep(0.1)
for process in (guard, broker): process.kill()
closing.join()""",
}


@linux
@pytest.mark.parametrize("wrapper", [False, True])
@pytest.mark.parametrize("share", ["process", "user"])
@pytest.mark.parametrize("end", ENDS)
def test_a_subreaper_has_no_zombies(end: str, share: str, wrapper: bool, fake: Fake) -> None:
    """Nor has process 1, as in a container: it inherits brokers, and what killed guards leave."""
    if share == "process" and "broker" in end:
        pytest.skip("has no broker")
    keep_alive = 0.2 if "stays" in end else 0
    options = f"share='user', keep_alive={keep_alive}" if share == "user" else ""
    body = f"""{SUBREAPER}
import psutil
llm = LLM("m", binary=binary, {options})
say(llm.chat("hi"))
server = llm._connection.server
guard = psutil.Process(server.pid).parent()
broker = guard.parent()
{"server = None" if "reference" in end else ""}
{ENDS[end]}
# What is killed takes a moment to end.
for _ in range(100):
    if not psutil.Process().children():
        break
    time.sleep(0.02)
say(len(psutil.Process().children()))
"""
    returncode, out, error = result(body, fake.binary(wrapper=wrapper))

    assert (0, "echo: hi\n0\n", "") == (returncode, out, error)
    # The next start removes the directories of killed guards.
    with fake.server(fake.binary()):
        pass
    fake.wait_for_nothing()


@linux
def test_an_owner_under_a_subreaper_is_killed(fake: Fake) -> None:
    """Its orphans then get a parent that is not process 1."""
    body = f"""{SUBREAPER}
import subprocess
owner = subprocess.Popen([sys.executable, "-c", {PREAMBLE + STARTED!r}, binary],
                         stdout=subprocess.PIPE)
say(owner.stdout.readline().decode().strip())
owner.kill()
owner.wait()
owner.stdout.close()
time.sleep(60)
"""
    with program(body, fake.binary()) as reaper:
        assert reaper.stdout is not None
        assert "echo: hi\n" == reaper.stdout.readline()

        fake.wait_for_nothing()
        # Guard and server are zombies of the subreaper, which takes nobody's status.
        children = psutil.Process(reaper.pid).children()
        assert wait_until(lambda: not any(runs(child.pid) for child in children))


@linux
@pytest.mark.parametrize("end", ["", "os._exit(0)"], ids=["end", "exit"])
def test_an_owner_that_is_process_one(end: str, fake: Fake, tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-pf", "true"], check=False).returncode:
        pytest.skip("no process namespaces here")
    # Without a file of process ids, which mean nothing outside.
    binary = str(executable(tmp_path, "private"))
    body = f"""
say(os.getpid())
llm = LLM("m", binary=binary)
say(llm.chat("hi"))
time.sleep(0.7)
say(llm.chat("later"))
if {bool(end)}:
    {end or "pass"}
"""
    done = subprocess.run(
        [unshare, "-pf", sys.executable, *WARNINGS_ARE_ERRORS, "-c", PREAMBLE + body, binary],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert ["1", "echo: hi", "echo: later"] == done.stdout.splitlines()
    for left in fake.directories:
        # Process 1 takes all others with it, the guard too.
        assert end
        shutil.rmtree(fake.runtime / left)


def test_starts_beside_threads_that_hold_locks(fake: Fake) -> None:
    body = """
import logging, threading
logging.getLogger().addHandler(logging.NullHandler())
over = threading.Event()
lock = threading.Lock()
def churn():
    while not over.wait(0.002):
        with lock:
            logging.info("%s", os.environ.get("HOME"))
            bytearray(10_000)
threads = [threading.Thread(target=churn) for _ in range(50)]
for thread in threads:
    thread.start()
try:
    for _ in range(10):
        with ManagedServer("m", binary=binary) as server:
            assert server.poll() is None
finally:
    over.set()
say("done")
"""
    with program(body, fake.binary()) as owner:
        out, error = owner.communicate(timeout=60)

    assert ("done\n", "") == (out, error)
    assert 10 == len(fake.starts)
