"""Mistakes that people make, and what they are told: what happened, where, and what to do next."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.prompts import PromptTemplate
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.utils import resolve_llm

from mlxcel_integrations import LLM, AsyncLLM, ManagedServer
from mlxcel_integrations.langchain import ChatMlxcel
from mlxcel_integrations.llama_index import Mlxcel
from mlxcel_integrations.transport import blocked_loop
from tests.fakes.server import FakeServer, Reply

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
HEADINGS = re.findall(r"^### `(.+)`$", PAGE.read_text("utf-8"), re.MULTILINE)
NEXT = re.compile(
    r"\b(pass|use|check|drop|choose|install|raise|leave|make|send|set|shorten|start|omit|run|"
    r"did you mean|try|await|without|must|call|name)\b",
    re.IGNORECASE,
)
"""Words with which a message says what to do next."""

CHAT = "/v1/chat/completions"
PNG = "data:image/png;base64,iVBORw0KGgo="
AT, NOWHERE = "http://h:1", "http://127.0.0.1:9"
LOCAL: dict[str, Any] = {"model": "org/m", "binary": "/bin/true"}


def once(url: str, **options: Any) -> LLM:
    return LLM(base_url=url, max_retries=0, **options)


def refused(server: FakeServer, status: int) -> None:
    server.route(CHAT, Reply.error(status, "No", code=status))
    once(server.url).chat("hi")


def image(url: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


def closed() -> None:
    llm = LLM(base_url=AT)
    llm.close()
    llm.chat("hi")


def enter_asynchronously(thing: Any) -> None:
    async def enter() -> None:
        async with thing:
            pass

    asyncio.run(enter())


def port_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        LLM(**LOCAL, port=other.getsockname()[1]).start()


def in_a_loop(server: FakeServer) -> None:
    async def ask() -> None:
        once(server.url).chat("hi")

    asyncio.run(ask())


class Plain:
    """No type of data."""


# What is done, and parts of the message, which say where it was done.
MISTAKES: dict[str, tuple[Callable[[FakeServer], object], list[str]]] = {
    # Which model, which server
    "nothing is given": (lambda s: LLM(), ["base_url=", "MLXCEL_MODEL"]),
    "a model and a server": (lambda s: LLM("m", base_url=AT), ["'m'", AT]),
    "an address and a socket": (lambda s: LLM(base_url=AT, socket="/s"), [AT, "'/s'"]),
    "an address without a scheme": (lambda s: LLM(base_url="h:1"), ["'h:1'", "http://"]),
    "an empty model": (lambda s: LLM(""), ["model="]),
    "a password in the address": (lambda s: LLM(base_url="http://a:b@h"), ["api_key="]),
    "an option of a start": (lambda s: LLM(base_url=AT, ctx_size=8), ["ctx_size=", AT]),
    "a sampling field": (lambda s: LLM(base_url=AT, temperature=1), ["'temperature'"]),  # type: ignore[call-arg]  # the mistake
    "a misspelt option": (lambda s: LLM("m", ctx_sise=8), ["'ctx_sise'", "'ctx_size'"]),  # type: ignore[call-arg]  # the mistake
    "an option of ChatOllama": (lambda s: ChatMlxcel(model="m", num_ctx=8), ["ctx_size="]),
    "a positional model": (lambda s: ChatMlxcel("embedded"), ["ChatMlxcel", "model='embedded'"]),
    "a key on two lines": (lambda s: LLM(base_url=AT, api_key="a\nb"), ["api_key="]),
    "a key in extra_args": (lambda s: LLM("m", extra_args=("--api-key", "a")), ["api_key="]),
    "a header on two lines": (
        lambda s: LLM(base_url=AT, default_headers={"a": "b\nc"}),
        ["'a'", "default_headers="],
    ),
    "a negative limit": (lambda s: LLM(base_url=AT, timeout=-1), ["timeout=-1"]),
    "a file that is missing": (lambda s: LLM(base_url="https://h", verify="ca.pem"), ["'ca.pem'"]),
    # The start of a server
    "no program": (lambda s: LLM("org/m").start(), ["'org/m'", "MLXCEL_BIN"]),
    "a model of Ollama": (lambda s: LLM("qwen3:4b").start(), ["'qwen3:4b'", ".gguf"]),
    "a misspelt model": (lambda s: LLM("embeded").start(), ["'embeded'", "'embedded'"]),
    "a wrong path of a program": (lambda s: LLM("m", binary="/no/x").start(), ["'/no/x'"]),
    "a wrong path of a model": (lambda s: LLM("/no/x.gguf").start(), ["/no/x.gguf"]),
    "a port that is taken": (lambda s: port_taken(), ["base_url='http://127.0.0.1:"]),
    "another machine's address": (lambda s: LLM(**LOCAL, host="203.0.113.1").start(), ["203"]),
    "a socket without .sock": (lambda s: LLM(**LOCAL, socket="/tmp/x").start(), ["'/tmp/x'"]),
    "a path that is too long": (
        lambda s: LLM(**LOCAL, socket=f"/tmp/{'x' * 120}.sock").start(),
        ["bytes"],
    ),
    # Reach a server
    "an unknown host": (lambda s: once("http://no.invalid:1").chat("hi"), ["no.invalid", "spell"]),
    "nobody listens": (lambda s: once(NOWHERE).chat("hi"), [NOWHERE, "Connection refused"]),
    "no socket": (lambda s: LLM(socket="/no/s.sock").chat("hi"), ["/no/s.sock"]),
    "https without TLS": (
        lambda s: once(s.url.replace("http", "https")).chat("hi"),
        ["https://127.0.0.1", "http://"],
    ),
    "a wrong key": (lambda s: refused(s, 401), ["401", "api_key="]),
    "another program": (lambda s: refused(s, 404), ["404", "address"]),
    "a busy server": (lambda s: refused(s, 503), ["503", "max_retries"]),
    "another model": (lambda s: once(s.url, served_model="x").chat("hi"), ["'x'", "fake-model"]),
    "an object that was closed": (lambda s: closed(), [AT]),
    # Ask for an answer
    "two answers": (lambda s: once(s.url).chat("hi", n=2), ["n is"]),
    "negative max_tokens": (lambda s: once(s.url).chat("hi", max_tokens=-1), ["-1"]),
    "no text": (lambda s: once(s.url).generate(5), ["int"]),  # type: ignore[arg-type]  # the mistake
    "no messages": (lambda s: once(s.url).chat([]), ["at least one"]),
    "an unknown role": (
        lambda s: once(s.url).chat([{"role": "usr", "content": "a"}]),
        ["messages[0]", "'usr'", "'user'"],
    ),
    "an image for a text model": (lambda s: once(s.url).chat(image(PNG)), ["messages[0]", "text"]),
    "messages of LangChain": (
        lambda s: once(s.url).chat([object()]),  # type: ignore[list-item]  # the mistake
        ["messages[0]", '"role"'],
    ),
    "a schema that is a value": (lambda s: once(s.url).chat("hi", schema=5), ["5", "Pydantic"]),
    "a schema that is a class": (lambda s: once(s.url).chat("hi", schema=Plain), ["Plain"]),
    "reranking without a model": (lambda s: once(s.url).rerank("a", ["b"]), ["fake-model"]),
    "embeddings without a model": (lambda s: once(s.url).embed(["a"]), ["embedding_model="]),
    # Event loops
    "with for AsyncLLM": (
        lambda s: AsyncLLM(base_url=AT).__enter__(),
        ["AsyncLLM", "async with"],
    ),
    "async with for LLM": (lambda s: enter_asynchronously(LLM(base_url=AT)), ["AsyncLLM"]),
    "async with for a server": (
        lambda s: enter_asynchronously(ManagedServer("embedded")),
        ["astart()"],
    ),
    "a synchronous call in a loop": (in_a_loop, ["AsyncLLM", "ainvoke"]),
}


def message(mistake: str, server: FakeServer) -> str:
    """Return what a mistake raises, or of what it warns."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            MISTAKES[mistake][0](server)
        except Exception as error:  # noqa: BLE001 - of any class
            return str(error)
    return str(warned[0].message) if warned else ""


@pytest.fixture(autouse=True)
def _nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLXCEL_BIN", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(blocked_loop, "_warned", False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)


@pytest.fixture
def text_server() -> Any:
    with FakeServer("newest") as server:
        yield server


def test_there_are_at_least_40() -> None:
    assert 40 <= len(MISTAKES)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_message_says_what_where_and_what_next(mistake: str, text_server: FakeServer) -> None:
    told = message(mistake, text_server)

    assert [] == [part for part in MISTAKES[mistake][1] if part not in told], told
    assert NEXT.search(told), told


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_page_has_the_words_of_the_message(mistake: str, text_server: FakeServer) -> None:
    told = message(mistake, text_server)

    found = [h for h in HEADINGS if all(part in told for part in h.strip("…").split("…"))]
    assert found, f"docs/troubleshooting.md needs a heading for: {told}"


STRANGERS: dict[str, Callable[[], object]] = {
    "a model of LlamaIndex in a chain": lambda: (
        PromptTemplate.from_template("{a}") | Mlxcel(base_url=AT)
    ),
    "a model of LangChain in LlamaIndex": lambda: resolve_llm(ChatMlxcel(base_url=AT)),
    "a message of LlamaIndex": lambda: ChatMlxcel(base_url=AT).invoke([ChatMessage("hi")]),
    "a message of LangChain": lambda: Mlxcel(base_url=AT).chat([HumanMessage("hi")]),
}


@pytest.mark.parametrize("mistake", STRANGERS)
def test_the_page_has_what_a_framework_says_of_the_other(mistake: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of the frameworks
        STRANGERS[mistake]()

    assert [heading for heading in HEADINGS if heading in str(caught.value)], caught.value


WINDOWS = """
import asyncio, os, socket, sys, warnings
import httpx, openai, pydantic, mlxcel_integrations.errors  # they know the real platform
loops = asyncio.Runner()
loops.get_loop()
sys.platform = "win32"
for name in ("register_at_fork", "fork", "geteuid", "getuid", "sched_getaffinity"):
    delattr(os, name) if hasattr(os, name) else None
del socket.AF_UNIX
for name in ("fcntl", "pwd", "grp", "resource", "termios"):
    sys.modules[name] = None
from mlxcel_integrations import LLM, AsyncLLM
print(LLM(base_url=sys.argv[1]).chat("hi"))
async def ask():
    async with AsyncLLM(base_url=sys.argv[1]) as llm:
        print(await llm.chat("hi"))
loops.run(ask())
try:
    LLM("embedded").start()
except mlxcel_integrations.errors.MlxcelError as error:
    print(error)
"""


def test_windows_connects_and_says_how_to_start_a_server(text_server: FakeServer) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WINDOWS, text_server.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    answers = done.stdout.splitlines()

    assert ["echo: hi", "echo: hi"] == answers[:2], done.stderr
    assert "cannot be started on Windows" in answers[2]
    assert "WSL" in answers[2]
    assert "base_url=" in answers[2]
    assert "A model server cannot be started on Windows" in HEADINGS
