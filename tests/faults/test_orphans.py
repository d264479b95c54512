"""A server whose guard is killed together with the program above it: nothing is left of it.

The program is the owner, or with ``share="user"`` the broker. The server may be the child of a
script, or have detached itself, so that nobody who is left knows it.
"""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fakes import program as fake_program
from tests.fakes.ports import free_port
from tests.supervisor.conftest import Fake, runs, wait_until
from tests.supervisor.measure_guard import is_guard
from tests.supervisor.test_guard import linux
from tests.supervisor.test_programs import program

BODY = """
options = eval({options!r})
llm = LLM("m", binary=binary, **options)
{start}
time.sleep(60)
"""
READY = "say(llm.start().model)"
LOADING = "say('starts'); llm.start()"


def script(fake: Fake, line: str, **switches: str) -> str:
    """Write a script with a line that runs the server in place of the braces."""
    variables = [f"FAKE_{key}={value}" for key, value in switches.items()]
    variables.append(f"FAKE_PIDFILE={fake.pid_file}")
    command = ["env", *variables, sys.executable, "-E", "-S", fake_program.__file__]
    return fake.script(line.format(f'{shlex.join(command)} "$@"'))


FORMS: dict[str, Callable[..., str]] = {
    "itself": lambda fake, **switches: fake.binary(**switches),
    "in a script": lambda fake, **switches: fake.binary(wrapper=True, **switches),
    "behind a script": lambda fake, **switches: script(fake, "{} &\nwait $!", **switches),
    "detached": lambda fake, **switches: script(fake, "setsid {} &\nwait $!", **switches),
    "detached, in an environment of its own": lambda fake, **switches: script(
        fake, "setsid env -i {} &\nwait $!", **switches
    ),
    "of a dead parent": lambda fake, **switches: script(
        fake, "(setsid {} &)\nsleep 60 &\nwait $!", **switches
    ),
}
OWN_SESSION = {"detached", "detached, in an environment of its own", "of a dead parent"}
"""Forms that the system does not end with their guard."""


def address(kind: str, fake: Fake) -> dict[str, Any]:
    if kind == "socket":
        return {"socket": str(fake.runtime / "mine.sock")}
    if kind == "port":
        return {"port": free_port()}
    return {}


def kill_above(server: int) -> None:
    """Kill the guard of a server and the program above it before one of them sees the other end."""
    above = [one for one in psutil.Process(server).parents() if one.pid > 1]
    (at,) = [index for index, one in enumerate(above) if is_guard(one)]
    both = above[at : at + 2]
    for process in both:
        process.suspend()
    for process in both:
        process.kill()
    assert wait_until(lambda: not any(runs(process.pid) for process in both))


@linux
@pytest.mark.parametrize("share", ["process", "user"])
@pytest.mark.parametrize(
    ("form", "kind", "start"),
    [
        *((form, "private", READY) for form in FORMS),
        ("detached", "socket", READY),
        ("detached", "port", READY),
        ("behind a script", "private", LOADING),
        ("detached", "private", LOADING),
    ],
)
def test_the_next_start_finds_nothing_in_its_way(
    form: str, share: str, kind: str, start: str, fake: Fake
) -> None:
    switches = {"LOAD_SECONDS": "60"} if start == LOADING else {}
    options = {"share": share, "keep_alive": 0, **address(kind, fake)}
    if share == "process":
        del options["keep_alive"]
    with program(
        BODY.format(options=repr(options), start=start), FORMS[form](fake, **switches)
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline()
        fake.wait_for_start()
        kill_above(fake.starts[0]["pid"])
        owner.kill()
        owner.wait()
        if form not in OWN_SESSION:
            # The system has ended it, without a next start.
            assert wait_until(lambda: not fake.running)

        with fake.server(FORMS[form](fake), **options) as server:
            assert server.pid is not None
            assert not runs(fake.starts[0]["pid"])
    fake.wait_for_nothing()


@linux
@pytest.mark.parametrize("form", FORMS)
def test_an_owner_that_lives_ends_what_its_killed_guard_leaves(form: str, fake: Fake) -> None:
    server = fake.server(FORMS[form](fake)).start()
    pid = fake.starts[0]["pid"]
    (guard,) = [one for one in psutil.Process(pid).parents() if is_guard(one)]

    guard.kill()

    assert -signal.SIGKILL == server.wait(5)
    assert not runs(pid)
    server.close()
    fake.wait_for_nothing()


@linux
def test_a_server_that_keeps_no_pipe_open_ends_with_the_next_start(
    fake: Fake, tmp_path: Path
) -> None:
    """A script may close all that it has inherited, the pipe to the guard too."""
    closed = "import os; os.closerange(3, 256); os.execvp('sh', ['sh', *os.sys.argv[1:]])"
    inner = Path(script(fake, "{} &\nwait $!")).rename(tmp_path / "inner")
    line = shlex.join([sys.executable, "-S", "-c", closed, str(inner)])
    with program(BODY.format(options="{}", start=READY), fake.script(f'exec {line} "$@"')) as owner:
        assert owner.stdout is not None
        assert "m\n" == owner.stdout.readline()
        kill_above(fake.starts[0]["pid"])
    with fake.server(fake.binary()):
        assert not runs(fake.starts[0]["pid"])
    fake.wait_for_nothing()
