"""Workers of `multiprocessing` and of gunicorn share the server of the process that has it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.supervisor.conftest import Fake, runs, wait_until
from tests.supervisor.test_programs import ROOT, result

POOL = """
import multiprocessing, warnings
from concurrent.futures import ProcessPoolExecutor
warnings.filterwarnings("ignore", "This process")
from mlxcel_integrations.langchain import ChatMlxcel
from tests.faults import workers
"""


def workers_of(method: str, share: str) -> str:
    """Return a program in which a started model answers in two processes and then here."""
    return f"""{POOL}
context = multiprocessing.get_context("{method}")
with ChatMlxcel(model="m", binary=binary{share}) as chat:
    answers = context.SimpleQueue()
    processes = [context.Process(target=workers.answer, args=(chat, str(n), answers))
                 for n in range(2)]
    for process in processes:
        process.start()
    say(sorted(answers.get() for _ in processes))
    for process in processes:
        process.join()
    say([process.exitcode for process in processes], chat.invoke("after").text)
"""


ANSWERED = """['echo: 0', 'echo: 1']
[0, 0] echo: after
"""


@pytest.mark.parametrize(("method", "most"), [("fork", 1), ("spawn", 3), ("forkserver", 3)])
def test_a_model_that_is_given_to_processes_answers_in_each(
    method: str, most: int, fake: Fake
) -> None:
    """What is no fork of the owner has a server of its own, unless all of the user share one."""
    returncode, out, error = result(workers_of(method, ""), fake.binary())

    assert (0, ANSWERED, "") == (returncode, out, error)
    assert len(fake.starts) <= most
    fake.wait_for_nothing()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_a_user_share_one_server(method: str, fake: Fake) -> None:
    body = workers_of(method, ", share='user', keep_alive=0")
    returncode, out, error = result(body, fake.binary())

    assert (0, ANSWERED, "") == (returncode, out, error)
    assert 1 == len(fake.starts)
    assert wait_until(lambda: not fake.running)


def test_a_pickled_model_in_a_pool_of_forked_workers_starts_nothing(fake: Fake) -> None:
    body = f"""{POOL}
chat = ChatMlxcel(model="m", binary=binary).start()
with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
    say(list(pool.map(workers.ask, [chat] * 4, "abcd")))
chat.close()
"""
    returncode, out, error = result(body, fake.binary())

    assert (0, "['echo: a', 'echo: b', 'echo: c', 'echo: d']\n", "") == (returncode, out, error)
    assert 1 == len(fake.starts)


# --------------------------------------------------------------------------- gunicorn

APP = """
import os
from mlxcel_integrations.langchain import ChatMlxcel

chat = ChatMlxcel(model="m", binary=os.environ["BINARY"]).start()

def app(environ, start_response):
    body = f"{os.getpid()} {chat.invoke('hi').text}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


class Site:
    """A gunicorn whose application was loaded, and its model started, before the workers."""

    def __init__(self, master: subprocess.Popen[bytes], address: Path) -> None:
        self.master = master
        self._address = address

    @property
    def workers(self) -> set[int]:
        """The processes of the workers; the guard of the server is a child of the master too."""
        return {
            child.pid
            for child in psutil.Process(self.master.pid).children()
            if runs(child.pid) and "gunicorn" in " ".join(child.cmdline())
        }

    def answer(self) -> int:
        """Ask once; return the process that answered."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self._address))
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with connection.makefile("rb") as reader:
                response = reader.read()
        found = re.search(rb"\r\n\r\n(\d+) echo: hi$", response)
        assert found is not None, response
        return int(found[1])

    def wait_for_another(self, ended: int, before: set[int]) -> None:
        """Wait until the master has replaced a worker."""
        assert wait_until(lambda: not runs(ended) and len(self.workers - before) == 1)

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.answer() > 0
        return False


@contextlib.contextmanager
def gunicorn(fake: Fake, tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "site_app.py").write_text(APP)
    address = fake.runtime.with_suffix(".sock")
    command = ["gunicorn", "--preload", "--workers", "3", "--graceful-timeout", "2"]
    # A worker looks after its master twice in this time.
    command += ["--timeout", "4"]
    command += ["--bind", f"unix:{address}", "--no-control-socket", "site_app:app"]
    environment = {**os.environ, "BINARY": fake.binary(), "PYTHONPATH": f"{ROOT}{os.pathsep}."}
    log = tmp_path / "gunicorn.log"
    with log.open("wb") as output:
        master = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=tmp_path,
            start_new_session=True,
        )
    site = Site(master, address)
    try:
        assert wait_until(site.answers, 20), log.read_text()
        assert wait_until(lambda: len(site.workers) == 3), log.read_text()
        yield site
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(master.pid, signal.SIGKILL)
        master.wait()
        address.unlink(missing_ok=True)


def test_gunicorn_with_preload_has_one_server(fake: Fake, tmp_path: Path) -> None:
    with gunicorn(fake, tmp_path) as site:
        (server,) = fake.running
        for number in (signal.SIGTERM, signal.SIGKILL):
            before = site.workers
            worker = site.answer()
            os.kill(worker, number)
            site.wait_for_another(worker, before)
            assert all(site.answer() > 0 for _ in range(6))
            assert [server] == fake.running

        site.master.terminate()

        assert 0 == site.master.wait(10)
        fake.wait_for_nothing()
    assert 1 == len(fake.starts)


def test_the_server_ends_with_a_gunicorn_that_is_killed(fake: Fake, tmp_path: Path) -> None:
    with gunicorn(fake, tmp_path) as site:
        workers = site.workers
        site.master.kill()

        fake.wait_for_nothing()
        assert wait_until(lambda: not any(map(runs, workers)), 10)
    assert 1 == len(fake.starts)
