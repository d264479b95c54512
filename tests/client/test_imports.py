"""Importing a client, and a first chat, load what they need and no more."""

from __future__ import annotations

import subprocess
import sys

import pytest

import mlxcel_integrations
from tests import WARNINGS_ARE_ERRORS
from tests.fakes.server import FakeServer
from tests.structure.imports import modules

PACKAGE = mlxcel_integrations.__name__
ON_TCP = pytest.mark.parametrize("place", ["tcp"], indirect=True)

HTTPX = """
import sys
# The command line of httpx, which is an extra of it, loads much of the standard library.
sys.modules["click"] = None
import httpx

before = set(sys.modules)
"""
IMPORT = "from mlxcel_integrations import LLM"
CHAT = f"{IMPORT}\nLLM(base_url=sys.argv[1]).chat('hi', max_tokens=8)"

UNUSED = {
    "a schema of the answer": [
        "schemas.json_schema",
        "schemas.bounds",
        "schemas.relaxation",
        "schemas.size_limits",
    ],
    "tools": [
        "tools.request_fields",
        "tools.prompted_tools",
        "tools.call_streams",
        "tools.call_schemas",
    ],
    "thinking before an answer": ["answers.thought_stream", "schemas.smallest_answer"],
    "a long prompt": ["tokens.context_window", "features"],
    "a progress bar": ["answers.prompt_progress"],
    "another request": [
        "completions",
        "vectors.embeddings",
        "vectors.rerank",
        "tokens.shared_prefix",
        "vectors.word_pieces",
    ],
}
"""Modules of ``protocol`` that an import and a plain chat do not load, by what needs them."""

FOLDERS = ("embedded", "options", "supervisor", "langchain", "llama_index", "cli", "ray")


def loaded(code: str, *arguments: str) -> set[str]:
    """Return the modules that a program loads after httpx."""
    program = f"{HTTPX}{code}\nprint(*sorted(set(sys.modules) - before))"
    command = [sys.executable, *WARNINGS_ARE_ERRORS, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    return set(done.stdout.split())


def test_importing_a_client_loads_little_beside_httpx() -> None:
    foreign = {name for name in loaded(IMPORT) if name.partition(".")[0] != PACKAGE}

    assert foreign <= {"_contextvars", "contextvars", "dataclasses"}


@ON_TCP
@pytest.mark.parametrize("code", [IMPORT, CHAT], ids=["an import", "a chat"])
def test_what_a_plain_chat_does_not_need_is_not_loaded(server: FakeServer, code: str) -> None:
    names = {name.removeprefix(f"{PACKAGE}.") for name in loaded(code, server.url)}
    unused = {f"protocol.{name}" for group in UNUSED.values() for name in group}

    assert unused <= modules().keys()
    assert set() == names & unused
    assert [] == [name for name in names if name.partition(".")[0] in FOLDERS]
    assert {"structured", "structured.attempts", "structured.request"} == {
        name for name in names if name.partition(".")[0] == "structured"
    }


@ON_TCP
def test_using_the_clients_loads_neither_openai_nor_a_framework(server: FakeServer) -> None:
    code = """
import asyncio, sys
import mlxcel_integrations
from mlxcel_integrations import LLM

heavy = {"openai", "langchain_core", "llama_index", "numpy"}
with LLM(base_url=sys.argv[1]) as llm:
    llm.chat("hi", max_tokens=8, reasoning=False), llm.generate("hi", seed=1)
    llm.tokenize("hi"), llm.features
loaded = {"pydantic", *heavy} & sys.modules.keys()

# Its constructor may be called in a loop, and must find there what a managed server needs.
from mlxcel_integrations import AsyncLLM

asyncio.run(AsyncLLM(base_url=sys.argv[1]).chat("hi"))
print(sorted(loaded | heavy & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, *WARNINGS_ARE_ERRORS, "-c", code, server.url],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (0, "[]\n", "") == (done.returncode, done.stdout, done.stderr)
