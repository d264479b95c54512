"""``mlxcel-integrations ask``: answers from the user's own files, with their sources."""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...client import LLM
from ...embedded.model import cache_directory
from ...errors import MlxcelError
from ..engine import Choice, choose, running
from ..terminal import Terminal
from .answer import FRAMEWORKS, Answer, Framework, answer, check_packages
from .files import Reading
from .passages import Passage
from .store import Store

if TYPE_CHECKING:
    from .retrieval import Retrieval

__all__ = ["ask", "open_store", "searching"]

_EMBEDDING_SECONDS = 30.0
"""How long a question waits for vectors of passages, more or less."""

_SHOWN_LEFT_OUT = 5


def ask(
    terminal: Terminal,
    names: Sequence[str],
    question: str,
    *,
    framework: str = "langchain",
    model: str | None = None,
    base_url: str | None = None,
    embedding_model: str | None = None,
    embed_all: bool = False,
    as_json: bool = False,
) -> int:
    """Answer a question from files.

    Args:
        terminal: Where to print all but the JSON.
        names: Files and folders.
        question: What is asked.
        framework: ``langchain`` or ``llamaindex``.
        model: A model to start a server for.
        base_url: Address of a running server.
        embedding_model: A second model for that server, which makes the vectors.
        embed_all: Whether to wait until all passages have a vector.
        as_json: Whether to print one JSON object to standard output.

    Returns:
        The exit status.

    Raises:
        MlxcelError: No file can be read, a package or the engine is missing, or the server did
            not start.
        openai.APIError: The server refused the question, or could not be reached.
    """
    if not question.strip():
        raise MlxcelError('The question is empty: write one, as in --question "What is this?".')
    chosen = FRAMEWORKS[framework]
    check_packages(chosen)
    options = {} if embedding_model is None else {"embedding_model": embedding_model}
    with open_store(terminal) as store:
        reading = _read(terminal, names, store)
        choice = choose(model, base_url)
        with searching(terminal, reading.passages, store, choice, chosen, **options) as found:
            base_url, llm, retrieval = found
            terminal.line()
            terminal.fact("Question", question)
            retrieval.prepare(question, math.inf if embed_all else _EMBEDDING_SECONDS)
            result = answer(terminal, chosen, base_url, llm.model, retrieval.find, question)
            if as_json:
                about = {"question": question, "framework": framework, "model": llm.model}
                _print_json(about, result, reading, retrieval.embedded)
    return 0


@contextlib.contextmanager
def open_store(terminal: Terminal) -> Iterator[Store]:
    """Open what is kept in the user's cache from one time to the next."""
    store = Store(cache_directory() / "ask.sqlite3")
    if store.news:
        terminal.fact("Cache", store.news)
    with contextlib.closing(store):
        yield store


@contextlib.contextmanager
def searching(
    terminal: Terminal,
    passages: Sequence[Passage],
    store: Store,
    choice: Choice,
    framework: Framework,
    **options: Any,
) -> Iterator[tuple[str, LLM, Retrieval]]:
    """Yield a server and what finds passages with it; what was started is stopped at the end."""

    def import_the_rest() -> None:
        # It takes about as long as the start. What fails here fails again, and is told, below.
        with contextlib.suppress(Exception):
            importlib.import_module(".retrieval", __package__)
            importlib.import_module(f".{framework.module}", __package__)

    with (
        running(terminal, choice, import_the_rest, **options) as endpoint,
        LLM(base_url=str(endpoint)) as llm,
    ):
        from .retrieval import Retrieval

        yield str(endpoint), llm, Retrieval(terminal, passages, llm, store)


def _read(terminal: Terminal, names: Sequence[str], store: Store) -> Reading:
    reading = Reading()
    with terminal.waiting("Reading", lambda: f"{reading.files} files"):
        reading.read(names, store)
    terminal.fact("Files", f"{reading.files} read, {len(reading.passages)} passages")
    for left_out in reading.left_out[:_SHOWN_LEFT_OUT]:
        terminal.fact("Left out", f"{left_out.file}: {left_out.reason}")
    more = len(reading.left_out) - _SHOWN_LEFT_OUT
    if more > 0:
        terminal.fact("Left out", f"{more} more")
    return reading


def _print_json(
    about: Mapping[str, str], result: Answer, reading: Reading, embedded: int | None
) -> None:
    sources = [
        {"file": passage.source, "place": passage.place, "text": passage.text}
        for passage in result.sources
    ]
    left_out = [{"file": one.file, "reason": one.reason} for one in reading.left_out]
    counts = {
        "output_tokens": result.output_tokens,
        "seconds": round(result.seconds, 3),
        "passages": len(reading.passages),
        "embedded_passages": embedded,
    }
    whole = {**about, "answer": result.text, "sources": sources, **counts, "left_out": left_out}
    sys.stdout.write(json.dumps(whole) + "\n")
