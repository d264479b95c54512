"""A forked child may use the server of its parent, and never harms it."""

from __future__ import annotations

import os
import shutil
import signal
from typing import Any

import pytest

from tests.fakes.server import FakeServer
from tests.supervisor.conftest import Fake, runs, wait_until
from tests.supervisor.test_programs import FORK, program, result

# A child that hangs must fail its test, and not hold it up.
CHILD = """
import faulthandler, threading

def say(*words):
    # In one piece, for several processes write.
    os.write(1, " ".join(map(str, words)).encode() + b"\\n")

def fork(run):
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(7)
        signal.alarm(8)
        run()
        sys.exit()
    return child

def status(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def errors():
    import openai
    from mlxcel_integrations import MlxcelError
    return MlxcelError, openai.APIError

def ask(model, text):
    try:
        return model.chat(text)
    except errors():
        return "an error"
"""
STARTED = CHILD + FORK


def test_a_child_that_becomes_another_program_leaves_the_server_to_its_parent(fake: Fake) -> None:
    body = """
say(status(fork(lambda: os.execvp("true", ["true"]))))
say(llm.chat("parent"))
"""
    returncode, out, error = result(STARTED + body, fake.binary())

    assert (0, "0\necho: parent\n", "") == (returncode, out, error)
    assert 1 == len(fake.starts)


@pytest.mark.skipif(shutil.which("sleep") is None, reason="needs sleep")
@pytest.mark.parametrize(
    "other",
    [
        "fork(lambda: os.execvp('sleep', ['sleep', '60']))",
        "__import__('subprocess').Popen(['sleep', '60'], close_fds=False).pid",
    ],
    ids=["exec", "subprocess"],
)
def test_another_program_that_outlives_the_owner_keeps_nothing_open(other: str, fake: Fake) -> None:
    body = f"say({other}); llm.chat('hi'); time.sleep(60)"
    with program(STARTED + body, fake.binary()) as owner:
        assert owner.stdout is not None
        outlives = int(owner.stdout.readline())
        owner.kill()

        fake.wait_for_nothing()
        assert runs(outlives)
        os.kill(outlives, signal.SIGKILL)


def test_children_that_are_killed_and_children_that_do_nothing(fake: Fake) -> None:
    body = """
def killed():
    llm.chat("child")
    os.kill(os.getpid(), signal.SIGKILL)

for run in (killed, lambda: None, lambda: llm.close(), lambda: os._exit(0)):
    say(status(fork(run)), llm.chat("parent"))
"""
    returncode, out, error = result(STARTED + body, fake.binary())

    assert ["-9 echo: parent", *["0 echo: parent"] * 3] == out.splitlines()
    assert (0, "") == (returncode, error)
    assert 1 == len(fake.starts)


def test_a_child_forked_inside_a_stream_leaves_the_stream_whole(fake: Fake) -> None:
    body = """
pieces = llm.chat_stream("a b c d e f")
first = next(pieces)
say(status(fork(lambda: say(llm.chat("child")))))
say(first + "".join(pieces))
"""
    returncode, out, error = result(STARTED + body, fake.binary(TOKEN_SECONDS="0.1"))

    assert ["echo: child", "0", "echo: a b c d e f"] == out.splitlines()
    assert (0, "") == (returncode, error)


def test_parent_and_children_ask_at_the_same_time(fake: Fake) -> None:
    body = """
def many(name):
    answers = [llm.chat(f"{name} {n}") for n in range(20)]
    return int(answers != [f"echo: {name} {n}" for n in range(20)])

# They end as workers of multiprocessing do.
children = [fork(lambda n=n: os._exit(many(f"child {n}"))) for n in range(4)]
assert many("parent") == 0
say([status(child) for child in children])
"""
    returncode, out, error = result(STARTED + body, fake.binary())

    assert (0, "[0, 0, 0, 0]\n", "") == (returncode, out, error)
    assert 1 == len(fake.starts)


@pytest.mark.parametrize(
    ("imports", "new"),
    [
        ("", "LLM('m', binary=binary).chat('child')"),
        (
            "from mlxcel_integrations.langchain import ChatMlxcel",
            "ChatMlxcel(model='m', binary=binary).invoke('child').text",
        ),
    ],
    ids=["LLM", "ChatMlxcel"],
)
def test_a_new_object_in_a_child_uses_the_server_of_the_parent(
    imports: str, new: str, fake: Fake
) -> None:
    body = f"""
{imports}
say(status(fork(lambda: say({new}))))
say(llm.chat("parent"))
"""
    returncode, out, error = result(STARTED + body, fake.binary())

    assert ["echo: child", "0", "echo: parent"] == out.splitlines()
    assert (0, "") == (returncode, error)
    assert 1 == len(fake.starts)


@pytest.mark.parametrize("seconds", [0, 0.02, 0.2])
def test_a_fork_during_a_start_harms_neither(seconds: float, fake: Fake) -> None:
    body = f"""
import warnings
warnings.filterwarnings("ignore", "This process")
llm = LLM("m", binary=binary)
starter = threading.Thread(target=llm.start)
starter.start()
time.sleep({seconds})
child = fork(lambda: say(ask(llm, "child")))
say(llm.chat("parent"))
starter.join()
say(status(child))
llm.close()
"""
    returncode, out, error = result(CHILD + body, fake.binary(LOAD_SECONDS="0.5"))

    *answers, code = out.splitlines()
    assert "echo: parent" in answers
    assert {*answers} <= {"echo: parent", "echo: child", "an error"}
    assert ("0", 0, "") == (code, returncode, error)
    fake.wait_for_nothing()


SLOW_IMPORT = """
import asyncio, warnings
from mlxcel_integrations import AsyncLLM
warnings.filterwarnings("ignore", "This process")
begun = threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r} and not begun.is_set():
            begun.set()
            time.sleep(0.3)

sys.meta_path.insert(0, Slow())
options = {options}
def use(text):
    try:
        if {asynchronous}:
            return asyncio.run(AsyncLLM(**options).chat(text))
        return LLM(**options).chat(text)
    except Exception as error:
        return text + ": " + type(error).__name__

thread = threading.Thread(target=use, args=("parent",))
thread.start()
begun.wait()
say(status(fork(lambda: say(use("child")))))
thread.join()
"""


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    "module", ["httpcore", "encodings.idna", "openai", "mlxcel_integrations.supervisor.launcher"]
)
def test_a_child_that_is_forked_within_an_import_can_import_the_same(
    module: str, asynchronous: bool, fake: Fake
) -> None:
    """Modules are imported with the first request, the first start and the first error."""
    with FakeServer() as server:
        options: dict[str, Any] = {"base_url": server.url}
        if module.startswith("mlxcel"):
            options = {"model": "m", "binary": fake.binary()}
        if module == "openai":
            options = {"base_url": "http://127.0.0.1:9", "max_retries": 0}
        body = SLOW_IMPORT.format(module=module, options=options, asynchronous=asynchronous)
        returncode, out, error = result(CHILD + body, fake.binary())

    answer = "child: APIConnectionError" if module == "openai" else "echo: child"
    assert (0, f"{answer}\n0\n", "") == (returncode, out, error)


@pytest.mark.parametrize("share", ["process", "user"])
def test_children_that_are_forked_during_a_start_do_not_hold_it_up(share: str, fake: Fake) -> None:
    body = f"""
import warnings
warnings.filterwarnings("ignore", "This process")
llm = LLM("m", binary=binary, share="{share}", keep_alive=0)
starter = threading.Thread(target=llm.start)
starter.start()
children = []
while starter.is_alive() and len(children) < 300:
    children.append(os.fork())
    if children[-1] == 0:
        os.closerange(0, 3)
        time.sleep(60)
        os._exit(0)
starter.join(10)
say(starter.is_alive())
for child in children:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
llm.close()
"""
    returncode, out, error = result(CHILD + body, fake.binary())

    assert (0, "False\n", "") == (returncode, out, error)
    fake.wait_for_nothing()


@pytest.mark.parametrize("end", ["llm.close()", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_child_whose_parent_has_no_server_any_more_gets_an_answer_or_an_error(
    end: str, fake: Fake
) -> None:
    body = f"""
reader, writer = os.pipe()
def later():
    os.close(writer)
    os.read(reader, 1)
    # A server that ends is still there for a moment.
    time.sleep(0.3)
    say(ask(llm, "child"))

child = fork(later)
{end}
os.close(writer)
say(status(child))
"""
    _, out, error = result(STARTED + body, fake.binary())

    assert out.splitlines()[0] in ("echo: child", "an error")
    assert "" == error
    assert wait_until(lambda: not fake.running)
    fake.wait_for_nothing()
