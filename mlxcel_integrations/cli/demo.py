"""``mlxcel-integrations demo``: two questions over the documentation, on a local model."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .. import __version__
from ..endpoint import Endpoint
from ..errors import MlxcelError
from ..supervisor.process import ManagedServer
from ..supervisor.progress import read_progress
from .engine import choose, describe
from .terminal import Terminal

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.runnables import Runnable

__all__ = ["QUESTIONS", "demo"]

QUESTIONS = ("Which command checks the machine?", "Which model does the embedded engine run?")
"""Worded so that even a very small model finds the answers in the passages."""


def demo(terminal: Terminal) -> int:
    """Ask questions over the documentation, on the model that the environment names.

    Args:
        terminal: Where to print.

    Returns:
        The exit status.

    Raises:
        MlxcelError: LangChain or the engine is missing, or the server did not start.
        openai.APIError: The server refused a question, or could not be reached.
    """
    if importlib.util.find_spec("langchain_core") is None:
        raise MlxcelError(
            "The demo runs a LangChain chain, and LangChain is not installed: "
            "pip install 'mlxcel-integrations[langchain,embedded]'."
        )
    terminal.line(terminal.styled(f"mlxcel-integrations {__version__}", "bold"))
    terminal.line("Two questions over its own documentation, on a local model.")
    terminal.line()
    with _engine(terminal) as endpoint, _documentation(terminal, endpoint) as chain:
        for question in QUESTIONS:
            terminal.line()
            _ask(terminal, chain, question)
    _say_what_next(terminal)
    return 0


@contextlib.contextmanager
def _engine(terminal: Terminal) -> Iterator[Endpoint]:
    """Say what answers and why, start it if need be, and stop what was started."""
    choice = choose()
    if choice.mode.endpoint is not None:
        terminal.fact("Engine", f"the running server at {choice.mode.endpoint} ({choice.reason})")
        yield choice.mode.endpoint
        return
    server = ManagedServer(str(choice.mode.model), progress=False)
    terminal.fact("Engine", describe(server.executable))
    terminal.fact("Model", f"{server.model} ({choice.reason})")
    with contextlib.closing(server):
        _start(terminal, server)
        yield server.endpoint


def _start(terminal: Terminal, server: ManagedServer) -> None:
    """Start a server; LangChain is imported meanwhile, which takes about as long."""
    begin = time.monotonic()
    threading.Thread(target=_import_chain, name="mlxcel-import").start()
    with terminal.waiting("Starting the server", lambda: _doing(server)):
        server.start()
    terminal.fact("Server", f"ready after {time.monotonic() - begin:.1f} s at {server.base_url}")


def _import_chain() -> None:
    # What fails here fails again, and is told, where the chain is used.
    with contextlib.suppress(Exception):
        importlib.import_module(".chain", __package__)


def _doing(server: ManagedServer) -> str:
    progress = read_progress(server.log_tail)
    return progress.text if progress is not None else ""


@contextlib.contextmanager
def _documentation(terminal: Terminal, endpoint: Endpoint) -> Iterator[Runnable[str, str]]:
    """Make the chain that answers from the project's documentation."""
    from ..langchain import ChatMlxcel
    from .chain import KeywordRetriever, retrieval_chain
    from .corpus import cut, pages

    documentation = pages()
    passages = cut(documentation)
    terminal.fact("Corpus", f"{len(documentation)} Markdown pages, {len(passages)} passages")
    with ChatMlxcel(base_url=str(endpoint), temperature=0, max_tokens=60, reasoning=False) as llm:
        yield retrieval_chain(llm, KeywordRetriever(passages=passages))


def _ask(terminal: Terminal, chain: Runnable[str, str], question: str) -> None:
    """Print a question, the places of its passages, and the answer while it is generated."""
    from langchain_core.callbacks import UsageMetadataCallbackHandler

    from .chain import Sources

    terminal.fact("Question", question)
    usage = UsageMetadataCallbackHandler()
    sources = Sources(lambda passage: terminal.fact("Source", _place(passage)))
    begin = time.monotonic()
    first = None
    for text in chain.stream(question, {"callbacks": [usage, sources]}):
        if first is None and text.strip():
            first = time.monotonic()
            terminal.label("Answer")
            text = text.lstrip()
        if first is not None:
            terminal.piece(text)
    end = time.monotonic()
    tokens = sum(counts["output_tokens"] for counts in usage.usage_metadata.values())
    if first is None:
        terminal.fact("Answer", f"(none: {tokens} tokens without text)")
        return
    terminal.line()
    terminal.fact("", _speed(first - begin, end - first, tokens))


def _place(passage: Document) -> str:
    return f'{passage.metadata["source"]}, "{passage.metadata["heading"]}"'


def _speed(first: float, rest: float, tokens: int) -> str:
    text = f"first word after {first:.2f} s"
    # The first token is there when the clock for the others starts.
    return f"{text}, {(tokens - 1) / rest:.0f} tokens/s" if tokens > 1 else text


def _say_what_next(terminal: Terminal) -> None:
    terminal.line()
    terminal.line("What next:")
    terminal.line(f"  your own model  MLXCEL_MODEL=/path/to/model.gguf {_command()} demo")
    terminal.line("  your own code   from mlxcel_integrations.langchain import ChatMlxcel")
    terminal.line(f"  your machine    {_command()} doctor")


def _command() -> str:
    """Return how to call this program: by its path where its environment is not active."""
    name = "mlxcel-integrations"
    return name if shutil.which(name) else os.path.relpath(sys.argv[0])
