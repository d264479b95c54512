"""Search for places that show the key of a server, in a program in which everything fails."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import importlib
import json
import logging
import os
import pickle
import pprint
import secrets as random_keys
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumpd, dumps
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent

from mlxcel_integrations import LLM, AsyncLLM, ManagedServer, secret
from mlxcel_integrations.langchain import ChatMlxcel
from mlxcel_integrations.llama_index import Mlxcel
from tests.faults.injection import PACKAGE
from tests.faults.measurements import Figure, fake_mlxcel
from tests.supervisor.conftest import Fake

NO_REPR = "no repr:"
NOWHERE = "http://127.0.0.1:9"
SHOWS_KEY = 'echo "the key is $LLAMA_API_KEY"'


class Hunt:
    """A key, and every place in which it was found.

    Attributes:
        key: The key; no other text looks like it.
        own: Places that are ours.
        foreign: Places in frames and objects of other libraries.
        broken: Objects of ours that cannot be shown in a traceback.
    """

    def __init__(self) -> None:
        self.key = f"sk-{random_keys.token_hex(20)}"
        # A cut through the middle is no protection.
        self._parts = [self.key[:15], self.key[-15:]]
        for shift in range(3):
            encoded = base64.b64encode(bytes(shift) + self.key.encode()).decode()
            self._parts += [encoded[4:19], encoded[-19:-4]]
        for digits in (self.key.encode().hex(), self.key.encode().hex(" ").upper()):
            self._parts += [digits[:15], digits[-15:]]
        self.own: set[str] = set()
        self.foreign: set[str] = set()
        self.broken: set[str] = set()

    def look(self, place: str, value: object, *, foreign: bool = False) -> None:
        """Look for the key in what a value shows of itself."""
        if isinstance(value, bytes):
            text = value.decode("latin-1")
        else:
            text = value if isinstance(value, str) else shown(value)
        if any(part in text for part in self._parts):
            (self.foreign if foreign else self.own).add(place)

    def look_at_object(self, name: str, value: Any) -> None:
        """Look through what an object shows, and those of ours that it is made of."""
        self.look(f"repr of {name}", repr(value))
        self.look(f"str of {name}", str(value))
        self.look(f"pprint of {name}", pprint.pformat(value))
        self._look_at_parts(name, value, set())
        ways: dict[str, Callable[[Any], Any]] = {
            "pickle": pickle.dumps,
            "copy": lambda one: (repr(copy.copy(one)), repr(copy.deepcopy(one))),
        }
        for way, make in ways.items():
            # Not everything can be copied, and it need not be.
            with contextlib.suppress(Exception):
                self.look(f"{way} of {name}", make(value))

    def _look_at_parts(self, name: str, value: Any, seen: set[int]) -> None:
        if not type(value).__module__.startswith("mlxcel_integrations") or id(value) in seen:
            return
        seen.add(id(value))
        for part, content in attributes(value).items():
            self.look(f"attribute {type(value).__name__}.{part}", repr(content))
            self._look_at_parts(f"{name}.{part}", content, seen)

    def look_at_error(self, case: str, error: BaseException) -> None:
        """Look through an error, what led to it, and their frames with all locals."""
        for cause in chain(error):
            kind = f"{type(cause).__name__} ({case})"
            ours = raised_by_us(cause)
            for name, text in {
                "str": str(cause),
                "repr": repr(cause),
                "args": repr(cause.args),
                "attributes": repr(vars(cause)),
            }.items():
                self.look(f"{name} of {kind}", text, foreign=not ours)
            for holder in ("request", "response"):
                with contextlib.suppress(RuntimeError, AttributeError):
                    message = getattr(cause, holder)
                    headers = repr(list(message.headers.raw))
                    self.look(f"{holder} headers of {kind}", headers, foreign=not ours)
            with contextlib.suppress(Exception):
                self.look(f"pickle of {kind}", pickle.dumps(cause), foreign=not ours)
            for frame, _ in traceback.walk_tb(cause.__traceback__):
                if frame.f_code.co_filename != __file__:
                    self._look_at_locals(frame, "traceback")

    def _look_at_locals(self, frame: FrameType, how: str) -> None:
        code = frame.f_code
        own = code.co_filename.startswith(PACKAGE)
        where = f"{code.co_filename.removeprefix(PACKAGE)}:{code.co_firstlineno}"
        for name, value in list(frame.f_locals.items()):
            if how == "any line" and isinstance(value, bytes | list):
                # What the server has just printed is in some variable before it is looked through.
                continue
            place = f"local {name} of {where} {code.co_qualname} ({how})"
            self.look(place, shown(value), foreign=not own)
            if how == "traceback" and own and shown(value).startswith(NO_REPR):
                # traceback.TracebackException(capture_locals=True) fails with it.
                self.broken.add(f"{place}: {shown(value)}")

    def look_at_processes(self) -> None:
        """Look through the command lines that every user of the machine can read."""
        own = psutil.Process()
        for process in [own, *own.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                self.look(f"command line of {process.name()}", process.cmdline())

    def look_at_files(self, root: Path) -> None:
        """Look through the names and the contents of what was made for a server."""
        for path in root.rglob("*"):
            self.look("name of a file", str(path))
            if path.is_file():
                self.look(f"content of {path.name}", path.read_bytes())

    # ------------------------------------------------------------------ while it runs

    @contextlib.contextmanager
    def everywhere(self) -> Iterator[None]:
        """Look at each line that runs: at the locals of its frame, as any traceback would be."""
        handler = LogHunter(self)
        root = logging.getLogger()
        known = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
        levels = {logger: logger.level for logger in [root, *known]}
        for logger in levels:
            logger.setLevel(logging.DEBUG)
        root.addHandler(handler)
        threading.settrace(self._enter)
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]  # how it is switched off
            root.removeHandler(handler)
            for logger, level in levels.items():
                logger.setLevel(level)

    def _enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        file = frame.f_code.co_filename
        # What hides a key has to know it.
        if not file.startswith(PACKAGE) or file == secret.__file__:
            return None
        # The first lines of a function that others call show what they have passed.
        caller = frame.f_back
        passed = caller is None or not caller.f_code.co_filename.startswith(PACKAGE)
        lines = 0

        def trace(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal lines
            lines += event == "line"
            if lines > 2 or not passed:
                self._look_at_frame(frame)
            return trace

        return trace

    def _look_at_frame(self, frame: FrameType) -> None:
        sys.settrace(None)
        self._look_at_locals(frame, "any line")
        sys.settrace(self._enter)


class LogHunter(logging.Handler):
    """Looks at everything that anybody logs."""

    def __init__(self, hunt: Hunt) -> None:
        super().__init__(logging.DEBUG)
        self._hunt = hunt

    def emit(self, record: logging.LogRecord) -> None:
        self._hunt.look(f"log of {record.name}", record.getMessage())
        self._hunt.look(f"log arguments of {record.name}", repr(vars(record)))


class Tracer(BaseCallbackHandler):
    """Looks at what LangChain hands to tracers."""

    def __init__(self, hunt: Hunt) -> None:
        self._hunt = hunt

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self._hunt.look("LangChain trace", repr((args, kwargs)))

    def on_llm_error(self, *args: Any, **kwargs: Any) -> None:
        self._hunt.look("LangChain trace of an error", repr((args, kwargs)))


class EventHunter(BaseEventHandler):
    """Looks at every event of LlamaIndex."""

    hunt: Any

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        self.hunt.look(f"LlamaIndex event {type(event).__name__}", repr((event, kwargs)))
        self.hunt.look(f"LlamaIndex event {type(event).__name__} as JSON", event.model_dump_json())


def shown(value: object) -> str:
    """Return the repr; an object that is still being made may have none."""
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  whatever keeps it from being shown
        return f"{NO_REPR} {error!r}"


def raised_by_us(error: BaseException) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_code.co_filename.startswith(PACKAGE)


def attributes(value: Any) -> dict[str, Any]:
    slots = {name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())}
    found = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    private = getattr(value, "__pydantic_private__", None)
    return {**found, **getattr(value, "__dict__", {}), **(private or {})}


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all that stands behind it, shown in a traceback or not."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in seen:
            seen.append(one)
            yield one
            waiting += [one.__cause__, one.__context__, getattr(one, "cause", None)]


# --------------------------------------------------------------------------- what goes wrong

Case = Callable[[Fake, str], Any]


def use(kind: str, key: str, **options: Any) -> Any:
    """Make an object of a kind, and get an answer from it."""
    if kind == "ManagedServer":
        with ManagedServer("m", api_key=key, **options):
            return None
    if kind == "LLM":
        with LLM("m", api_key=key, **options) as llm:
            return list(llm.chat_stream("a b c"))
    if kind == "ChatMlxcel":
        with ChatMlxcel(model="m", api_key=key, **options) as llm:
            return llm.invoke("a b c")
    if kind == "Mlxcel":
        with Mlxcel(model="m", api_key=key, **options) as llm:
            return list(llm.stream_complete("a b c"))
    return asyncio.run(ause(kind, key, **options))


async def ause(kind: str, key: str, **options: Any) -> Any:
    if kind == "AsyncLLM":
        async with AsyncLLM("m", api_key=key, **options) as llm:
            return [piece async for piece in llm.chat_stream("a b c")]
    if kind == "Mlxcel in a loop":
        async with Mlxcel(model="m", api_key=key, **options) as llm:
            return await llm.acomplete("a b c")
    async with ChatMlxcel(model="m", api_key=key, **options) as llm:
        return await llm.ainvoke("a b c")


KINDS = (
    *("ManagedServer", "LLM", "AsyncLLM", "ChatMlxcel", "ChatMlxcel in a loop"),
    *("Mlxcel", "Mlxcel in a loop"),
)

LIFECYCLE: dict[str, Callable[[Fake], dict[str, Any]]] = {
    "shows the key and ends": lambda fake: {"binary": fake.script(f"{SHOWS_KEY} >&2; exit 1")},
    "shows half of the key, then the rest": lambda fake: {
        "binary": fake.script(
            "printf %s \"$LLAMA_API_KEY\" | cut -c1-20 | tr -d '\\n'; sleep 0.05; "
            'printf %s "$LLAMA_API_KEY" | cut -c21-; exit 1'
        )
    },
    "shows the key in a long line": lambda fake: {
        "binary": fake.script(
            "head -c 8190 /dev/zero | tr '\\0' x; printf %s \"$LLAMA_API_KEY\"; "
            "head -c 8170 /dev/zero | tr '\\0' y; exit 1"
        )
    },
    "is never ready": lambda fake: {
        "binary": fake.script(f"{SHOWS_KEY}; exec sleep 60"),
        "startup_timeout": 0.3,
        "shutdown_grace": 0.1,
    },
    "is no program": lambda fake: {"binary": not_a_program(fake)},
    "does not exist": lambda fake: {"binary": "/no/such/program"},
    "breaks off": lambda fake: {"binary": fake.binary(CRASH_AFTER="0")},
    "an option is unknown": lambda fake: {"ctx_sise": 1},
    "an option has a wrong value": lambda fake: {"parallel": -1},
    "the socket is too long": lambda fake: {"binary": fake.binary(), "socket": "/" + "x" * 200},
}


def not_a_program(fake: Fake) -> str:
    path = fake.runtime.parent / "not-a-program"
    path.write_bytes(b"\x7fELF")
    path.chmod(0o755)
    return str(path)


def connected(key: str, **where: Any) -> None:
    LLM(api_key=key, **where).chat("hi")


def aconnected(key: str, **where: Any) -> None:
    async def chat() -> None:
        async with AsyncLLM(api_key=key, **where) as llm:
            await llm.chat("hi")

    asyncio.run(chat())


def chat_connected(key: str, **where: Any) -> None:
    ChatMlxcel(api_key=key, **where).invoke("hi")


def achat_connected(key: str, **where: Any) -> None:
    asyncio.run(ChatMlxcel(api_key=key, **where).ainvoke("hi"))


def index_connected(key: str, **where: Any) -> None:
    Mlxcel(api_key=key, **where).complete("hi")


def aindex_connected(key: str, **where: Any) -> None:
    async def complete() -> None:
        async with Mlxcel(api_key=key, **where) as llm:
            await llm.acomplete("hi")

    asyncio.run(complete())


def openai_connected(key: str, **where: Any) -> None:
    LLM(api_key=key, **where).openai_client.models.list()


CONNECTED = (
    *(connected, aconnected, chat_connected, achat_connected, index_connected, aindex_connected),
    openai_connected,
)


def secrets(count: int) -> Iterator[Figure]:
    """Every place but the environment of the server in which its key can be read.

    Args:
        count: With how many kinds of objects each fault is tried; 0 is all.
    """
    warnings.simplefilter("ignore")
    # Under a trace it would take seconds.
    importlib.import_module("openai")
    hunt = Hunt()
    failed = 0
    with hunt.everywhere():
        for first, (case, options) in enumerate(LIFECYCLE.items()):
            for kind in (KINDS + KINDS)[first % len(KINDS) :][: count or len(KINDS)]:
                with fake_mlxcel() as fake:
                    failed += caught(hunt, f"{kind}, {case}", use, kind, hunt.key, **options(fake))
                    hunt.look_at_files(fake.runtime)
        failed += without_descriptors(hunt)
        failed += connections(hunt)
        objects(hunt)
    yield Figure("errors that were looked through", str(failed))
    yield figure("places that show the key", hunt.own, target="0")
    yield figure("places of other libraries that do", hunt.foreign)
    yield figure("objects that a traceback with locals cannot show", hunt.broken, target="0")


def figure(name: str, places: set[str], target: str = "") -> Figure:
    return Figure(name, str(len(places)), target, not (target and places), tuple(sorted(places)))


def caught(hunt: Hunt, case: str, function: Callable[..., Any], *args: Any, **options: Any) -> int:
    """Call what fails, and look through the error; return how many errors there were."""
    try:
        function(*args, **options)
    except Exception as error:  # noqa: BLE001  all kinds are looked through
        hunt.look_at_error(case, error)
        return 1
    return 0


def without_descriptors(hunt: Hunt) -> int:
    """Fail at each descriptor that a start opens."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    failed = 0
    for more in range(0, 16):
        with fake_mlxcel() as fake:
            binary = fake.binary()
            free = os.dup(0)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free + more, hard))
            try:
                failed += caught(
                    hunt, "no descriptor", use, "ManagedServer", hunt.key, binary=binary
                )
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return failed


def connections(hunt: Hunt) -> int:
    """Fail with a server that runs: another key, nobody there, silence; look at all it shows."""
    failed = 0
    with (
        fake_mlxcel() as fake,
        ManagedServer("m", binary=fake.binary(), api_key=hunt.key) as server,
    ):
        hunt.look_at_object("ManagedServer", server)
        hunt.look_at_processes()
        hunt.look_at_files(fake.runtime)
        assert server.pid is not None
        for chat in CONNECTED:
            failed += caught(hunt, "nobody there", chat, hunt.key, base_url=NOWHERE, max_retries=0)
            os.kill(server.pid, signal.SIGSTOP)
            where = {"socket": server.socket, "timeout": 0.2, "max_retries": 0}
            failed += caught(hunt, "silence", chat, hunt.key, **where)
            os.kill(server.pid, signal.SIGCONT)
            for name in ("bad\n key \u00e9", "\x00"):
                failed += caught(hunt, "bad key", chat, hunt.key + name, base_url=NOWHERE)
    with fake_mlxcel() as fake, ManagedServer("m", binary=fake.binary(), api_key="k") as server:
        for chat in CONNECTED:
            failed += caught(hunt, "another key", chat, hunt.key, socket=server.socket)
    return failed


def objects(hunt: Hunt) -> None:
    """Look through objects whose server runs."""
    with fake_mlxcel() as fake:
        binary = fake.binary()
        with LLM("m", api_key=hunt.key, binary=binary) as llm:
            llm.chat("hi")
            hunt.look_at_object("LLM", llm)
            hunt.look("repr of openai_client", repr(llm.openai_client))
            hunt.look("attributes of openai_client", vars(llm.openai_client), foreign=True)
            hunt.look_at_processes()
        with ChatMlxcel(model="m", api_key=hunt.key, binary=binary) as chat:
            chat.invoke("hi", config={"callbacks": [Tracer(hunt)]})
            look_at_chat(hunt, chat)
        look_at_index(hunt, binary)
        asyncio.run(async_object(hunt, binary))


def look_at_chat(hunt: Hunt, chat: ChatMlxcel) -> None:
    hunt.look_at_object("ChatMlxcel", chat)
    bound = chat.bind(stop=["x"])
    piped = chat | (lambda message: message)
    shown: dict[str, Any] = {
        "model_dump": chat.model_dump(),
        "model_dump_json": chat.model_dump_json(),
        "dict": list(chat),
        "dumpd": dumpd(chat),
        "dumps": dumps(chat),
        "to_json": chat.to_json(),
        "_identifying_params": chat._identifying_params,
        "lc_attributes": chat.lc_attributes,
        "_get_ls_params": chat._get_ls_params(),
        "bind": repr(bound),
        "dumpd of a chain": dumpd(piped),
        "repr of a chain": repr(piped),
        "graph": json.dumps(piped.get_graph().to_json(with_schemas=True)),
        "model_copy": repr(chat.model_copy()),
    }
    for name, value in shown.items():
        hunt.look(f"{name} of ChatMlxcel", value)


def look_at_index(hunt: Hunt, binary: str) -> None:
    seen = LlamaDebugHandler(print_trace_on_end=False)
    dispatcher = get_dispatcher()
    dispatcher.add_event_handler(EventHunter(hunt=hunt))
    manager = CallbackManager([seen])
    with Mlxcel(model="m", api_key=hunt.key, binary=binary, callback_manager=manager) as llm:
        llm.complete("hi")
        list(llm.stream_complete("hi"))
        hunt.look_at_object("Mlxcel", llm)
        shown: dict[str, Any] = {
            "model_dump": llm.model_dump(),
            "model_dump_json": llm.model_dump_json(),
            "to_dict": llm.to_dict(),
            "to_json": llm.to_json(),
            "metadata": llm.metadata,
            "events": [(pair[0].payload, pair[-1].payload) for pair in seen.get_event_pairs()],
        }
        for name, value in shown.items():
            hunt.look(f"{name} of Mlxcel", repr(value))
    dispatcher.event_handlers.pop()


async def async_object(hunt: Hunt, binary: str) -> None:
    async with AsyncLLM("m", api_key=hunt.key, binary=binary) as llm:
        await llm.chat("hi")
        hunt.look_at_object("AsyncLLM", llm)
        task = asyncio.create_task(llm.chat("hi"))
        await asyncio.sleep(0)
        hunt.look("repr of a task", repr(task))
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as error:
            hunt.look_at_error("cancelled", error)
