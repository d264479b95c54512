"""What surrounds a server: its offspring, its port, its folder, names and clocks."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import openai
import pytest

import mlxcel_integrations
from mlxcel_integrations import LLM, MlxcelError, MlxcelServerError
from mlxcel_integrations.embedded.model import locate_model
from tests import WARNINGS_ARE_ERRORS
from tests.fakes.ports import free_port
from tests.supervisor.conftest import Fake, runs, wait_until
from tests.supervisor.test_guard import linux
from tests.supervisor.test_programs import PREAMBLE, ROOT, result

NOBODY = 65534
root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")

# --------------------------------------------------------------------------- offspring

needs_setsid = pytest.mark.skipif(shutil.which("setsid") is None, reason="needs setsid")


@needs_setsid
def test_offspring_in_a_session_of_its_own_does_not_hold_up_close(fake: Fake) -> None:
    """It keeps the pipe of the log open, so that the log never ends."""
    note = fake.runtime.with_suffix(".pid")
    inner = fake.binary("real")
    binary = fake.script(f'setsid sleep 60 & echo $! > {note}\nexec {inner} "$@"')
    server = fake.server(binary).start()

    began = time.monotonic()
    server.close()

    assert time.monotonic() - began < 1.5
    assert -signal.SIGTERM == server.poll()
    offspring = int(note.read_text())
    note.unlink()
    if runs(offspring):
        os.kill(offspring, signal.SIGKILL)


@needs_setsid
def test_a_server_that_makes_itself_a_daemon_is_told_and_does_not_stay(fake: Fake) -> None:
    inner = fake.binary("real", LOAD_SECONDS="1")
    binary = fake.script(f'setsid {inner} "$@" < /dev/null &\nsleep 0.5; exit 0')

    with pytest.raises(MlxcelServerError, match="exit status 0 before it was ready"):
        fake.server(binary).start()

    if sys.platform == "linux":
        assert wait_until(lambda: not fake.running)


# --------------------------------------------------------------------------- the port

TAKE_PORT = """
import os, socket, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
taken = socket.create_server(("127.0.0.1", port))
taken.set_inheritable(True)
os.execv(sys.argv[1], sys.argv[1:])
"""


def taking_its_port(fake: Fake, tmp_path: Path, *, always: bool = False) -> str:
    """Return a program that finds its port taken when it is run for the first time, or always."""
    first = "true" if always else f"mkdir {tmp_path}/once 2> /dev/null"
    inner = fake.binary("real")
    (tmp_path / "take.py").write_text(TAKE_PORT)
    take = f'exec {sys.executable} -S {tmp_path}/take.py {inner} "$@"'
    return fake.script(f'if {first}; then {take}; fi\nexec {inner} "$@"')


def test_a_port_that_is_taken_before_the_bind_is_replaced(fake: Fake, tmp_path: Path) -> None:
    with LLM("m", binary=taking_its_port(fake, tmp_path), host="127.0.0.1") as llm:
        assert "echo: hi" == llm.chat("hi")

    ports = [start["argv"][start["argv"].index("--port") + 1] for start in fake.starts]
    assert 2 == len(set(ports)) == len(ports)


def test_a_start_that_finds_each_port_taken_gives_up(fake: Fake, tmp_path: Path) -> None:
    server = fake.server(taking_its_port(fake, tmp_path, always=True), host="127.0.0.1")

    with pytest.raises(MlxcelServerError, match="found no free port in three attempts"):
        server.start()
    assert 3 == len(fake.starts)


def test_a_port_of_the_users_choice_is_not_replaced(fake: Fake, tmp_path: Path) -> None:
    server = fake.server(taking_its_port(fake, tmp_path), port=free_port())

    with pytest.raises(MlxcelServerError, match="failed to bind"):
        server.start()
    assert 1 == len(fake.starts)


# --------------------------------------------------------------------------- the folder


@pytest.mark.parametrize("kind", ["missing", "file", "not writable"])
def test_a_folder_that_takes_no_socket_is_refused(kind: str, fake: Fake, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    if kind == "file":
        folder.write_text("")
    if kind == "not writable":
        if os.getuid() == 0:
            pytest.skip("root may write everywhere")
        folder.mkdir(0o500)

    with pytest.raises(MlxcelError, match=r"does not exist or is not writable"):
        fake.server(fake.binary(), socket=folder / "x.sock").start()

    assert [] == fake.starts


@pytest.mark.parametrize("runtime", ["/no/such/directory", "/proc", "", "relative"])
def test_a_runtime_directory_that_cannot_be_used_is_named_or_passed_over(
    runtime: str, fake: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    server = fake.server(fake.binary())
    told = ""
    try:
        server.start()
    except MlxcelError as error:
        told = str(error)

    if told:
        assert f"socket in {runtime}:" in told
    else:
        assert server.socket is not None
        assert 0o700 == stat.S_IMODE(Path(server.socket).parent.stat().st_mode)


@pytest.mark.parametrize("kind", ["symlink", "file", pytest.param("stranger", marks=root)])
def test_a_shared_folder_that_somebody_else_has_prepared_is_refused(
    kind: str, fake: Fake, tmp_path: Path
) -> None:
    prepared = fake.runtime / f"mlxcel-{os.getuid()}"
    if kind == "symlink":
        prepared.symlink_to(tmp_path)
    elif kind == "file":
        prepared.write_text("")
    else:
        prepared.mkdir(0o700)
        os.chown(prepared, NOBODY, NOBODY)
    options: dict[str, Any] = {"share": "user", "keep_alive": 0}

    with pytest.raises(MlxcelError, match=re.escape(str(fake.runtime))):
        LLM("m", binary=fake.binary(), **options).start()

    assert [] == fake.starts
    prepared.unlink() if kind != "stranger" else prepared.rmdir()


@pytest.mark.usefixtures("unmeasured")
@root
@linux
def test_another_user_cannot_connect_whatever_the_umask(fake: Fake) -> None:
    before = os.umask(0)
    try:
        server = fake.server(fake.binary()).start()
    finally:
        os.umask(before)
    fake.runtime.chmod(0o755)
    body = f"""
import socket
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
with socket.socket(socket.AF_UNIX) as stranger:
    try:
        stranger.connect({server.socket!r})
    except OSError as error:
        say(error.strerror)
"""
    assert (0, "Permission denied\n", "") == result(body, "")


def test_a_socket_that_a_cleaner_removed_is_told_and_made_again(fake: Fake) -> None:
    binary = fake.binary()
    with LLM("m", binary=binary) as llm:
        assert "echo: hi" == llm.chat("hi")
        shutil.rmtree(fake.runtime / fake.directories[0])
        # A connection that is open goes on; whoever makes a new one finds nothing.
        with LLM("m", binary=binary) as other:
            assert answers_in_the_end(other)
            assert answers_in_the_end(llm)
    fake.wait_for_nothing()


def answers_in_the_end(llm: LLM) -> bool:
    """Ask twice; the first time may fail with an error that a user can catch."""
    for _ in range(2):
        with contextlib.suppress(MlxcelError, openai.APIError):
            return llm.chat("hi") == "echo: hi"
    return False


# --------------------------------------------------------------------------- names

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NAMES = [
    "org/with space",
    "quo\"te's",
    "$(touch x)`y`;|&>",
    "-leading",
    "--help",
    "new\nline",
    "café🦙",
]


def run_with(
    environment: dict[str, str], body: str, fake: Fake
) -> subprocess.CompletedProcess[str]:
    """Run a program, with warnings as errors, in an environment with these variables."""
    return subprocess.run(
        [sys.executable, *WARNINGS_ARE_ERRORS, "-c", PREAMBLE + body, fake.binary()],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_names_reach_the_server_as_they_are_in_any_locale(locale: str, fake: Fake) -> None:
    body = f"""
for name in {[name.encode() for name in NAMES]!r}:
    name = os.fsdecode(name)
    with LLM(name, binary=binary, alias=name) as llm:
        say(llm.models()[0].encode(), llm.chat("hi"))
"""
    environment = {**ASCII, "LC_ALL": locale}
    done = run_with(environment, body, fake)

    assert (0, "") == (done.returncode, done.stderr)
    assert [f"{name.encode()} echo: hi" for name in NAMES] == done.stdout.splitlines()


@pytest.mark.parametrize("share", ["process", "user"])
@pytest.mark.parametrize("name", ["café🦙", "gone"])
@pytest.mark.parametrize("model", ["m", "embedded"])
def test_a_server_starts_wherever_the_program_runs(
    model: str, name: str, share: str, fake: Fake
) -> None:
    """In a directory whose name the locale cannot decode, or in one that was deleted."""
    where = fake.runtime / name
    where.mkdir()
    body = f"""
where = os.fsdecode({os.fsencode(where)!r})
os.chdir(where)
if where.endswith("gone"):
    os.rmdir(where)
else:
    os.environ["XDG_RUNTIME_DIR"] = where
options = {{"binary": binary}} if {model!r} == "m" else {{"parallel": 1}}
with LLM({model!r}, share={share!r}, keep_alive=0, **options) as llm:
    say(len(llm.chat("hi", max_tokens=4)) > 0)
"""
    done = run_with(ASCII, body, fake)

    shutil.rmtree(where, ignore_errors=True)
    assert (0, "True\n", "") == (done.returncode, done.stdout, done.stderr)


def test_an_engine_is_not_started_on_a_path_that_it_cannot_read(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xe4.gguf")
    shutil.copy(locate_model("embedded"), path)

    with pytest.raises(MlxcelServerError, match=r"is not UTF-8, the only encoding that llama\.cpp"):
        LLM(str(path)).start()


# --------------------------------------------------------------------------- clocks


@pytest.mark.parametrize("share", ["process", "user"])
@pytest.mark.parametrize("seconds", [1e10, 1e300, math.inf])
def test_limits_may_be_longer_than_clocks_can_count(seconds: float, share: str, fake: Fake) -> None:
    names = ("startup_timeout", "stall_timeout", "shutdown_grace", "keep_alive")
    options: dict[str, Any] = dict.fromkeys(names, seconds)
    server = fake.server(fake.binary(), share=share, **options)

    assert "ready" == server.start().state
    server.kill()
    assert -signal.SIGKILL == server.wait(seconds)
    server.close()
    assert "stopped" == server.state


def test_only_monotonic_clocks_are_read() -> None:
    """A wall clock jumps when it is set, and when a machine wakes up."""
    package = Path(mlxcel_integrations.__file__).parent
    wall = re.compile(r"\btime\.(?:time|time_ns|localtime|gmtime)\(|\.(?:now|utcnow|today)\(")

    found = [path.name for path in package.rglob("*.py") if wall.search(path.read_text())]

    # They set and compare the times of files, which know no other clock.
    assert {"kept_prompts.py", "prompt_store.py"} == set(found)


NO_FILES = """
import asyncio, os, resource
from mlxcel_integrations import LLM, AsyncLLM, MlxcelError

def fill():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            taken.append(os.open("/dev/null", 0))
    except OSError:
        pass

async def ask():
    llm = AsyncLLM({options})
    fill()
    try:
        await llm.chat("hi")
    finally:
        for one in taken:
            os.close(one)

def ask_in_sync():
    llm = LLM({options})
    fill()
    try:
        llm.chat("hi")
    finally:
        for one in taken:
            os.close(one)

taken = []
try:
    asyncio.run(ask()) if {asynchronous} else ask_in_sync()
except MlxcelError as error:
    print(error)
"""


@linux
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("base_url='http://127.0.0.1:9'", "Too many open files. Send fewer requests"),
        ("'m', binary='true'", "cannot be started: .*Too many open files"),
    ],
)
def test_a_first_request_without_files_to_open_says_so(
    options: str, says: str, asynchronous: bool
) -> None:
    """It imports what it needs, and a start does."""
    program = NO_FILES.format(options=options, asynchronous=asynchronous)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )

    assert "" == done.stderr
    assert re.search(says, done.stdout), done.stdout
