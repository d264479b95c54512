"""What a program does before it is ready, and until its first answer."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from tests.benchmarks.part import Part
from tests.benchmarks.rounds import Work, medians, time_of_children
from tests.benchmarks.serving import Firehose, served
from tests.faults.latencies import seconds_to_first_byte

__all__ = ["PARTS"]

ROOT = Path(__file__).parents[2]

LANGCHAIN_ALONE, LLAMA_INDEX_ALONE = "LangChain and httpx", "LlamaIndex and httpx"

IMPORTS = {
    "httpx": "import httpx",
    "`LLM`": "from mlxcel_integrations import LLM",
    LANGCHAIN_ALONE: "import httpx, langchain_core.language_models.chat_models",
    "`ChatMlxcel`": "from mlxcel_integrations.langchain import ChatMlxcel",
    "`ChatLlama`": "from langchain_llama_cpp import ChatLlama",
    "`ChatOllama`": "from langchain_ollama import ChatOllama",
    "`ChatOpenAI`": "from langchain_openai import ChatOpenAI",
    LLAMA_INDEX_ALONE: "import httpx, llama_index.core.llms.function_calling",
    "`Mlxcel`": "from mlxcel_integrations.llama_index import Mlxcel",
    "`Ollama`": "from llama_index.llms.ollama import Ollama",
    "`OpenAILike`": "from llama_index.llms.openai_like import OpenAILike",
}
HTTPX_ASKS = """
body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
httpx.post(URL + "/v1/chat/completions", json=body).json()
"""
LANGCHAIN_SAYS = """
from langchain_core.language_models import FakeListChatModel
FakeListChatModel(responses=["hi"]).invoke("hi")
"""
LLAMA_INDEX_SAYS = """
from llama_index.core.llms import ChatMessage, MockLLM
MockLLM().chat([ChatMessage("hi")])
"""
LLAMA_INDEX_ASKS = """
from llama_index.core.llms import ChatMessage
llm.chat([ChatMessage("hi")])
"""
QUESTIONS = {
    "httpx": HTTPX_ASKS,
    "`LLM`": "LLM(base_url=URL).chat('hi', max_tokens=8)",
    LANGCHAIN_ALONE: HTTPX_ASKS + LANGCHAIN_SAYS,
    "`ChatMlxcel`": "ChatMlxcel(base_url=URL).invoke('hi')",
    "`ChatLlama`": "ChatLlama(model='m', base_url=URL).invoke('hi')",
    "`ChatOllama`": "ChatOllama(model='m', base_url=URL).invoke('hi')",
    "`ChatOpenAI`": "ChatOpenAI(model='m', base_url=URL + '/v1', api_key='none').invoke('hi')",
    LLAMA_INDEX_ALONE: HTTPX_ASKS + LLAMA_INDEX_SAYS,
    "`Mlxcel`": "llm = Mlxcel(base_url=URL)" + LLAMA_INDEX_ASKS,
    "`Ollama`": "llm = Ollama(model='m', base_url=URL, context_window=4096)" + LLAMA_INDEX_ASKS,
    "`OpenAILike`": (
        "llm = OpenAILike(model='m', api_base=URL + '/v1', api_key='none', is_chat_model=True)"
        + LLAMA_INDEX_ASKS
    ),
}
OURS = ("`LLM`", "`ChatMlxcel`", "`Mlxcel`")
FLOORS = {
    "`LLM`": ("httpx",),
    "`ChatMlxcel`": (LANGCHAIN_ALONE,),
    "`ChatLlama`": (LANGCHAIN_ALONE,),
    "`ChatOllama`": (LANGCHAIN_ALONE,),
    "`ChatOpenAI`": (LANGCHAIN_ALONE,),
    "`Mlxcel`": (LLAMA_INDEX_ALONE,),
    "`Ollama`": (LLAMA_INDEX_ALONE,),
    "`OpenAILike`": (LLAMA_INDEX_ALONE,),
}


def imports(rounds: int, peers: bool) -> dict[str, float]:
    return processor_time(IMPORTS, rounds, peers)


def first_answers(rounds: int, peers: bool) -> dict[str, float]:
    with served(Firehose, 2) as url:
        programs = {
            name: f"URL = {url!r}\n{IMPORTS[name]}\n{question}"
            for name, question in QUESTIONS.items()
        }
        return processor_time(programs, rounds, peers)


def processor_time(programs: Mapping[str, str], rounds: int, peers: bool) -> dict[str, float]:
    """Return the seconds that programs take, less those of an empty one."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # As when installed: what was compiled is kept.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(code: str) -> Work:
        command = [sys.executable, "-c", code]
        return lambda: subprocess.run(command, env=environment, check=True)

    works = {name: run(code) for name, code in programs.items() if takes_part(name, peers)}
    times = medians({"": run(""), **works}, rounds, clock=time_of_children)
    empty = times.pop("")
    return {name: seconds - empty for name, seconds in times.items()}


def takes_part(name: str, peers: bool) -> bool:
    """Return whether a program runs: its package is installed, and others are asked for."""
    if name in OURS or name not in FLOORS:
        return True
    try:
        return peers and find_spec(IMPORTS[name].split()[1]) is not None
    except ModuleNotFoundError:
        return False


def managed_servers(rounds: int, peers: bool) -> dict[str, float]:
    """Return how long a server that is ready waits for its first request."""
    places: dict[str, dict[str, object]] = {
        "`LLM`, on a socket": {},
        "`LLM`, over TCP": {"host": "127.0.0.1"},
    }
    return {
        name: statistics.median(seconds_to_first_byte(**options) for _ in range(rounds))
        for name, options in places.items()
    }


IMPORT_LIMITS = {"`LLM`": 1.4}
FIRST_LIMITS = {**dict.fromkeys(OURS, 1.5), "`LLM`": 1.3}

PARTS = (
    Part("imports", "ms", 1e3, imports, FLOORS, IMPORT_LIMITS),
    Part("first answers", "ms", 1e3, first_answers, FLOORS, FIRST_LIMITS),
    Part("managed servers", "ms", 1e3, managed_servers, {}),
)
