"""No server outlives its owner, in whatever way the owner or the guard between them dies."""

from __future__ import annotations

import os
import select
import signal
import stat
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from mlxcel_integrations import LLM, MlxcelError, MlxcelServerError
from mlxcel_integrations.supervisor import guard

from .conftest import Fake, runs, wait_until
from .measure_guard import figures, is_guard, kills
from .test_programs import program

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has pidfd, PDEATHSIG, /proc")

MOMENTS = {
    "loading": (
        {"LOAD_SECONDS": "60"},
        """
import threading
threading.Thread(target=ManagedServer("m", binary=binary).start).start()
""",
    ),
    "ready": ({}, "llm = LLM('m', binary=binary).start()"),
    "streaming": (
        {},
        "llm = LLM('m', binary=binary); pieces = llm.stream('a b c d e f'); next(pieces)",
    ),
    "closing": (
        {"IGNORE_SIGTERM": "1"},
        """
import threading
llm = LLM('m', binary=binary, shutdown_grace=60).start()
threading.Thread(target=llm.close).start()
time.sleep(0.1)
""",
    ),
}

SIBLING = """
import warnings
warnings.simplefilter("ignore")
sibling = os.fork()
if sibling == 0:
    os.closerange(0, 3)
    time.sleep(60)
    os._exit(0)
say(sibling)
time.sleep(60)
"""


def guard_of(pid: int) -> psutil.Process:
    process = psutil.Process(pid).parent()
    assert process is not None
    assert is_guard(process)
    return process


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# --------------------------------------------------------------------------- the owner dies


@pytest.mark.parametrize("sibling", [False, True], ids=["alone", "sibling"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_server_ends_with_an_owner_that_is_killed(moment: str, sibling: bool, fake: Fake) -> None:
    switches, body = MOMENTS[moment]
    body += SIBLING if sibling else "\nsay(0)\ntime.sleep(60)"
    with program(body, fake.binary(**switches)) as owner:
        forked = int(said(owner))
        fake.wait_for_start()
        the_guard = guard_of(fake.starts[0]["pid"])
        assert fake.running

        owner.kill()

        fake.wait_for_nothing()
        assert wait_until(lambda: not runs(the_guard.pid))
        if forked:
            assert runs(forked)
            os.kill(forked, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
def test_a_signal_that_the_owner_does_not_handle_ends_the_server_too(
    number: signal.Signals, fake: Fake
) -> None:
    # Programs that are started in the background may have been told to ignore it.
    code = f"signal.signal({int(number)}, signal.SIG_DFL)\n{MOMENTS['ready'][1]}\nsay('ready')"
    with program(f"{code}\ntime.sleep(60)", fake.binary()) as owner:
        said(owner)
        owner.send_signal(number)
        owner.wait(5)

        fake.wait_for_nothing()
        assert -number == owner.returncode


def test_a_wrapper_and_what_ignores_sigterm_end_with_the_owner(fake: Fake) -> None:
    binary = fake.binary(wrapper=True, CHILD="1", IGNORE_SIGTERM="1")
    with program(MOMENTS["ready"][1] + "\nsay('ready')\ntime.sleep(60)", binary) as owner:
        said(owner)
        assert 3 == len(fake.running)
        owner.kill()
        fake.wait_for_nothing()


@linux
@pytest.mark.parametrize("options", [{}, {"sibling": True}, {"guard_first": True}], ids=str)
def test_kills_at_random_moments_leave_nothing(
    options: dict[str, bool], fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    latencies, left = kills(4, fake.binary(LOAD_SECONDS="0.1"), fake.runtime, **options)

    assert ([], []) == (left, fake.directories)
    with capsys.disabled():
        print(f" {figures(latencies)} ", end="")
    assert max(latencies) < 0.5


def test_an_owner_that_is_gone_before_the_order_arrives_gets_no_server(fake: Fake) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    line = guard.start_order([fake.binary(), "serve", "-m", "m"], None, None, 1, gone.pid)

    done = subprocess.run(
        [sys.executable, "-I", "-S", guard.__file__], input=line, capture_output=True, check=True
    )

    assert (b'{"error": "its owner is gone"}\n', b"") == (done.stdout, done.stderr)
    assert [] == fake.starts


# --------------------------------------------------------------------------- the guard dies


@linux
def test_a_server_ends_when_its_guard_is_killed_and_its_owner_can_do_nothing(fake: Fake) -> None:
    with program(MOMENTS["ready"][1] + "\nsay('ready')\ntime.sleep(60)", fake.binary()) as owner:
        said(owner)
        the_guard = guard_of(fake.starts[0]["pid"])
        owner.send_signal(signal.SIGSTOP)
        the_guard.kill()

        assert wait_until(lambda: [] == fake.running)

        owner.send_signal(signal.SIGCONT)
        assert wait_until(lambda: [] == fake.directories)


@pytest.mark.parametrize("wrapper", [False, True])
def test_a_server_ends_with_its_guard_and_the_next_call_starts_another(
    wrapper: bool, fake: Fake
) -> None:
    with LLM("m", binary=fake.binary(wrapper=wrapper, CHILD="1")) as llm:
        assert "echo: hi" == llm.chat("hi")
        first = fake.running
        the_guard = guard_of(fake.starts[0]["pgid"])

        killed = time.monotonic()
        the_guard.kill()

        assert wait_until(lambda: not any(map(runs, first)))
        # Less than 100 ms where nothing else runs.
        assert time.monotonic() - killed < 0.5
        assert wait_until(lambda: [] == fake.directories)
        assert "echo: hi" == llm.chat("hi")
    assert 2 == len(fake.starts)


def test_the_end_of_the_guard_is_told(fake: Fake) -> None:
    server = fake.server(fake.binary()).start()
    assert server.pid is not None

    guard_of(server.pid).kill()

    assert -signal.SIGKILL == server.wait(5)
    assert (
        "the server ended with its guard process, which something else has killed" == server.end()
    )


def test_the_end_of_the_guard_during_a_start_is_told(fake: Fake) -> None:
    server = fake.server(fake.binary(LOAD_SECONDS="60"))

    def kill_guard() -> None:
        fake.wait_for_start()
        guard_of(fake.starts[0]["pid"]).kill()

    killer = threading.Thread(target=kill_guard)
    killer.start()
    with pytest.raises(MlxcelServerError, match="ended with its guard process"):
        server.start()
    killer.join()
    fake.wait_for_nothing()


def test_a_guard_that_is_held_up_does_not_hold_up_close(fake: Fake) -> None:
    server = fake.server(fake.binary(), shutdown_grace=0).start()
    assert server.pid is not None
    guard_of(server.pid).suspend()

    began = time.monotonic()
    server.close()

    assert time.monotonic() - began < 3
    fake.wait_for_nothing()


def test_sigterm_to_the_guard_stops_the_server_and_sigint_does_not(fake: Fake) -> None:
    server = fake.server(fake.binary()).start()
    assert server.pid is not None
    the_guard = guard_of(server.pid)
    for number in (signal.SIGINT, signal.SIGHUP):
        the_guard.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        server.wait(0.1)

    the_guard.send_signal(signal.SIGTERM)

    assert -signal.SIGTERM == server.wait(5)
    assert [] == fake.directories


# --------------------------------------------------------------------------- how it is started


def test_a_server_that_a_short_lived_thread_starts_survives_the_thread(fake: Fake) -> None:
    server = fake.server(fake.binary())
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()

    with pytest.raises(subprocess.TimeoutExpired):
        server.wait(0.2)


def test_a_command_that_cannot_be_run_is_told_and_leaves_nothing(
    fake: Fake, tmp_path: Path
) -> None:
    program = tmp_path / "mlxcel"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    children = psutil.Process().children()

    with pytest.raises(MlxcelError, match=r"mlxcel cannot be run: No such file or directory\."):
        fake.server(str(program)).start()

    assert children == psutil.Process().children()
    assert [] == fake.directories


@pytest.mark.skipif(not os.access("/proc", os.W_OK), reason="only root may try")
def test_a_directory_that_cannot_be_made_is_told(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/proc")

    with pytest.raises(MlxcelError, match=r" in /proc: No such file or directory\."):
        fake.server(fake.binary()).start()
    assert [] == fake.starts


def test_the_directory_is_private_whatever_the_umask(fake: Fake) -> None:
    before = os.umask(0)
    try:
        server = fake.server(fake.binary()).start()
    finally:
        os.umask(before)

    assert server.socket is not None
    assert 0o700 == stat.S_IMODE(Path(server.socket).parent.stat().st_mode)


def test_the_key_is_in_no_command_line(fake: Fake) -> None:
    server = fake.server(fake.binary(), api_key="sk-secret").start()
    assert server.pid is not None

    the_guard = guard_of(server.pid)

    assert [sys.executable, "-I", "-S", guard.__file__] == the_guard.cmdline()
    assert "sk-secret" not in " ".join(psutil.Process(server.pid).cmdline())


def test_what_the_user_has_installed_or_set_does_not_run_in_the_guard(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = tmp_path / "poison"
    poison.mkdir()
    for name in ("sitecustomize", "usercustomize", "json", "select", "startup"):
        (poison / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write('x')\n")
    monkeypatch.setenv("PYTHONPATH", str(poison))
    monkeypatch.setenv("PYTHONSTARTUP", str(poison / "startup.py"))
    monkeypatch.setenv("PYTHONHOME", str(poison))
    monkeypatch.setenv("PYTHONINSPECT", "1")
    monkeypatch.chdir(poison)

    server = fake.server(fake.binary()).start()

    assert server.pid is not None
    assert str(poison) == psutil.Process(server.pid).environ()["PYTHONPATH"]
    assert not (tmp_path / "ran").exists()


@linux
def test_names_that_are_no_text_reach_the_server(fake: Fake) -> None:
    alias = os.fsdecode(b"caf\xe9 \xf0\x9f\xa6\x99 -'\"\n")

    server = fake.server(fake.binary(), extra_args=("--tags", alias)).start()

    assert server.pid is not None
    assert os.fsencode(alias) in Path(f"/proc/{server.pid}/cmdline").read_bytes().split(b"\0")


def test_signals_that_the_user_blocks_or_ignores_still_reach_the_server(fake: Fake) -> None:
    body = """
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
server = ManagedServer("m", binary=binary, shutdown_grace=60).start()
server.close()
say(server.end())
"""
    with program(body, fake.binary()) as owner:
        out, error = owner.communicate(timeout=10)

    assert ("the server ended with signal 15 (SIGTERM)\n", "") == (out, error)


def test_a_default_timeout_of_sockets_changes_nothing(fake: Fake) -> None:
    body = """
import socket
socket.setdefaulttimeout(0.05)
llm = LLM("m", binary=binary).start()
time.sleep(0.2)
say(llm.chat("hi"))
"""
    with program(body, fake.binary()) as owner:
        out, error = owner.communicate(timeout=10)

    assert ("echo: hi\n", "") == (out, error)
    assert 1 == len(fake.starts)


def test_the_guard_costs_little(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    def seconds(before: list[str], command: list[str], line: bytes | None) -> float:
        began = time.monotonic()
        subprocess.run([*before, *command], input=line, check=True, capture_output=True)
        return time.monotonic() - began

    command = ["true"]
    line = guard.start_order(command, None, None, 1, os.getpid())
    guarded = [sys.executable, "-I", "-S", guard.__file__]
    overheads = [seconds(guarded, [], line) - seconds([], command, None) for _ in range(5)]
    server = fake.server(fake.binary()).start()
    assert server.pid is not None
    megabytes = guard_of(server.pid).memory_info().rss / 1e6

    overhead = statistics.median(overheads)
    with capsys.disabled():
        print(f" {overhead * 1000:.0f} ms, {megabytes:.1f} MB ", end="")
    # 60 ms and 15 MB where nothing else runs.
    assert overhead < 0.2
    assert megabytes < 20


# --------------------------------------------------------------------------- kqueue


class FakeQueue:
    """The part of a kqueue that is used, as its manual page describes it."""

    def __init__(self, alive: set[int]) -> None:
        self._alive = alive
        self.watched: list[Any] = []

    def control(self, changes: list[Any], max_events: int) -> list[Any]:
        assert 0 == max_events
        for change in changes:
            if change.ident not in self._alive:
                raise ProcessLookupError
        self.watched += changes
        return []


KEVENT = ("ident", "filter", "flags", "fflags")


def kqueue_api(alive: set[int]) -> SimpleNamespace:
    return SimpleNamespace(
        kqueue=lambda: FakeQueue(alive),
        kevent=lambda *fields: SimpleNamespace(**dict(zip(KEVENT, fields, strict=True))),
        KQ_FILTER_PROC=-5,
        KQ_EV_ADD=1,
        KQ_NOTE_EXIT=0x80000000,
    )


def test_a_kqueue_is_asked_for_the_exit_of_the_owner() -> None:
    queue = guard.exit_queue(42, kqueue_api({42}))

    expected = SimpleNamespace(ident=42, filter=-5, flags=1, fflags=0x80000000)
    assert [expected] == queue.watched


def test_a_kqueue_cannot_watch_what_has_ended() -> None:
    with pytest.raises(ProcessLookupError):
        guard.exit_queue(42, kqueue_api(set()))


def test_the_constants_are_those_of_the_module_where_there_is_one() -> None:
    if not hasattr(select, "kqueue"):
        pytest.skip("no kqueue here")
    api = kqueue_api(set())
    for name in ("KQ_FILTER_PROC", "KQ_EV_ADD", "KQ_NOTE_EXIT"):
        assert getattr(select, name) & 0xFFFFFFFF == getattr(api, name) & 0xFFFFFFFF
