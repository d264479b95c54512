"""Handlers of the user stay as they are, and a program ends in peace though it still asks."""

from __future__ import annotations

import pytest

from tests.supervisor.conftest import Fake
from tests.supervisor.test_programs import result

HANDLERS = """
names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGCHLD", "SIGPIPE", "SIGALRM", "SIGUSR1")
def handlers():
    wakeup = signal.set_wakeup_fd(-1)
    return [signal.getsignal(getattr(signal, name)) for name in names], wakeup, \
        signal.pthread_sigmask(signal.SIG_BLOCK, ())
before = handlers()
server = ManagedServer("m", binary=binary).start()
with LLM("m", binary=binary) as llm:
    say(llm.chat("hi"))
{end}
say(server.poll(), server.end())
server.close()
say(handlers() == before)
"""

REAPER = """
def reap(*_):
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return
signal.signal(signal.SIGCHLD, reap)
"""
RAISES = """
def fail(*_):
    raise RuntimeError("from a handler")
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, fail)
"""


@pytest.mark.parametrize(
    "handlers",
    ["", "signal.signal(signal.SIGCHLD, signal.SIG_IGN)", REAPER, RAISES],
    ids=["default", "SIGCHLD ignored", "SIGCHLD reaps all", "others"],
)
@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("server.close()", "-15 the server ended with signal 15 (SIGTERM)"),
        (
            "os.kill(server.pid, 9); server.wait(5)",
            "-9 the server ended with signal 9 (SIGKILL; the system may have run out of memory)",
        ),
    ],
    ids=["close", "kill"],
)
def test_handlers_of_the_user_are_untouched_and_the_end_is_told(
    handlers: str, end: str, told: str, fake: Fake
) -> None:
    returncode, out, error = result(handlers + HANDLERS.format(end=end), fake.binary())

    assert (["echo: hi", told, "True"], "", 0) == (out.splitlines(), error, returncode)
    assert ([], []) == (fake.running, fake.directories)


def test_a_handler_that_raises_ends_a_start_like_ctrl_c(fake: Fake) -> None:
    body = f"""{RAISES}
import threading
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
try:
    ManagedServer("m", binary=binary).start()
except RuntimeError as error:
    say(error)
"""
    returncode, out, error = result(body, fake.binary(LOAD_SECONDS="60"))

    assert (0, "from a handler\n", "") == (returncode, out, error)
    fake.wait_for_nothing()


def test_a_server_can_be_started_inside_a_signal_handler(fake: Fake) -> None:
    body = """
llm = LLM("m", binary=binary)
signal.signal(signal.SIGUSR1, lambda *_: say(llm.chat("from the handler")))
os.kill(os.getpid(), signal.SIGUSR1)
say(llm.chat("after"))
"""
    returncode, out, error = result(body, fake.binary())

    assert (0, "echo: from the handler\necho: after\n", "") == (returncode, out, error)


# --------------------------------------------------------------------------- the program ends

ERRORS = """
import threading, atexit, openai
from mlxcel_integrations import MlxcelError
def ask():
    try:
        return llm.chat("a b c d")
    except (MlxcelError, openai.APIError) as error:
        return f"{type(error).__name__}"
"""

STILL_ASKING = {
    "daemon threads": """
llm = LLM("m", binary=binary).start()
def for_ever():
    while True:
        ask()
for _ in range(4):
    threading.Thread(target=for_ever, daemon=True).start()
time.sleep(0.3)
""",
    "a daemon thread that makes new objects": """
def for_ever():
    global llm
    while True:
        llm = LLM("m", binary=binary)
        ask()
threading.Thread(target=for_ever, daemon=True).start()
time.sleep(0.3)
""",
    "a daemon thread in the middle of an answer": """
llm = LLM("m", binary=binary).start()
threading.Thread(target=ask, daemon=True).start()
time.sleep(0.1)
""",
    "atexit, before": """
llm = LLM("m", binary=binary).start()
atexit.register(lambda: say(ask()))
""",
    "atexit, after": """
atexit.register(lambda: say(ask()))
llm = LLM("m", binary=binary).start()
""",
    "atexit of the interpreter, first use": """
llm = LLM("m", binary=binary)
atexit.register(lambda: say(ask()))
""",
    "__del__ at the very end": """
llm = LLM("m", binary=binary).start()
class Last:
    def __del__(self, ask=ask):
        ask()
last = Last()
sys.last = last
""",
    "a thread that ends later": """
llm = LLM("m", binary=binary).start()
def later():
    time.sleep(0.2)
    say(ask())
threading.Thread(target=later).start()
""",
    "an executor that ends later": """
from concurrent.futures import ThreadPoolExecutor
llm = LLM("m", binary=binary)
executor = ThreadPoolExecutor(2)
executor.submit(lambda: say(ask()))
""",
    "a stream that nobody reads to its end": """
llm = LLM("m", binary=binary).start()
pieces = llm.chat_stream("a b c d")
next(pieces)
""",
    "a loop that was never closed": """
import asyncio
from mlxcel_integrations import AsyncLLM
llm = AsyncLLM("m", binary=binary)
say(asyncio.run(llm.chat("a b c d")))
""",
}


@pytest.mark.parametrize("way", STILL_ASKING)
def test_a_program_ends_in_peace_though_something_still_asks(way: str, fake: Fake) -> None:
    binary = fake.binary(TOKEN_SECONDS="0.05", LOAD_SECONDS="0.1")
    returncode, out, error = result(ERRORS + STILL_ASKING[way], binary)

    assert (0, "") == (returncode, error)
    if way in ("atexit, before", "a thread that ends later", "an executor that ends later"):
        assert "echo: a b c d\n" == out
    fake.wait_for_nothing()
