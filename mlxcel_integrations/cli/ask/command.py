"""Command ``mlxcel-integrations ask``: read files, find passages, print the answer."""

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
from ..engine import Choice, choose_engine, running_engine
from ..terminal import Terminal
from .answer import FRAMEWORKS, Answer, Framework, print_answer, require_packages
from .files import Corpus, UnreadableFile
from .passages import Passage
from .store import Store

if TYPE_CHECKING:
    from .retrieval import Retrieval

__all__ = ["open_search", "open_store", "run_ask"]

_EMBEDDING_SECONDS = 30.0
"""How long a question waits for passages to be embedded; the last batch may take longer."""

_SHOWN_LEFT_OUT = 5


def run_ask(
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
        terminal: Where to print everything but the JSON.
        names: Files and folders.
        question: The question.
        framework: ``langchain`` or ``llamaindex``.
        model: A model to start a server for.
        base_url: Address of a running server.
        embedding_model: A second model for that server, which embeds.
        embed_all: Whether to wait until all passages are embedded.
        as_json: Whether to print one JSON object to standard output.

    Returns:
        The exit status.

    Raises:
        MlxcelError: No file can be read, a package or the engine is missing, or the server did
            not start.
        openai.APIError: The server rejected the question, or could not be reached.
    """
    if not question.strip():
        raise MlxcelError('The question is empty. Pass one, as in --question "What is this?".')
    chosen = FRAMEWORKS[framework]
    require_packages(chosen)
    options = {} if embedding_model is None else {"embedding_model": embedding_model}
    with open_store(terminal) as store:
        corpus = _read_files(terminal, names, store)
        choice = choose_engine(model, base_url)
        with open_search(terminal, corpus.passages, store, choice, chosen, **options) as search:
            base_url, llm, retrieval = search
            terminal.line()
            terminal.fact("Question", question)
            retrieval.prepare(question, math.inf if embed_all else _EMBEDDING_SECONDS)
            result = print_answer(terminal, chosen, base_url, llm.model, retrieval.find, question)
            if as_json:
                about = {"question": question, "framework": framework, "model": llm.model}
                _print_json(about, result, corpus, retrieval.embedded)
    return 0


@contextlib.contextmanager
def open_store(terminal: Terminal) -> Iterator[Store]:
    """Open the store in the user's cache directory."""
    store = Store(cache_directory() / "ask.sqlite3")
    if store.notice:
        terminal.fact("Cache", store.notice)
    with contextlib.closing(store):
        yield store


@contextlib.contextmanager
def open_search(
    terminal: Terminal,
    passages: Sequence[Passage],
    store: Store,
    choice: Choice,
    framework: Framework,
    **options: Any,
) -> Iterator[tuple[str, LLM, Retrieval]]:
    """Yield a server's address, a client and a retrieval; stop the server if we started it."""

    def import_packages() -> None:
        # Imports take about as long as the server's start. An error is raised again below.
        with contextlib.suppress(Exception):
            importlib.import_module(".retrieval", __package__)
            importlib.import_module(f".{framework.module}", __package__)

    with (
        running_engine(terminal, choice, import_packages, **options) as endpoint,
        LLM(base_url=str(endpoint)) as llm,
    ):
        from .retrieval import Retrieval

        yield str(endpoint), llm, Retrieval(terminal, passages, llm, store)


def _read_files(terminal: Terminal, names: Sequence[str], store: Store) -> Corpus:
    corpus = Corpus()
    with terminal.waiting("Reading", lambda: f"{corpus.files} files"):
        corpus.read(names, store)
    terminal.fact("Files", f"{corpus.files} read, {len(corpus.passages)} passages")
    for file in corpus.left_out[:_SHOWN_LEFT_OUT]:
        terminal.fact("Left out", f"{file.name}: {file.reason}")
    more = len(corpus.left_out) - _SHOWN_LEFT_OUT
    if more > 0:
        terminal.fact("Left out", f"{more} more")
    if corpus.skipped:
        terminal.fact("Left out", _skipped_text(corpus.skipped))
    return corpus


def _skipped_text(skipped: Sequence[UnreadableFile]) -> str:
    named = [f"{file.name} ({file.reason})" for file in skipped[:_SHOWN_LEFT_OUT]]
    more = ["..."] if len(skipped) > _SHOWN_LEFT_OUT else []
    files = "1 file" if len(skipped) == 1 else f"{len(skipped)} files"
    return f"{files} skipped: {', '.join([*named, *more])}"


def _print_json(
    about: Mapping[str, str], result: Answer, corpus: Corpus, embedded: int | None
) -> None:
    sources = [
        {"file": passage.source, "place": passage.place, "text": passage.text}
        for passage in result.sources
    ]
    left_out = [
        {"file": file.name, "reason": file.reason} for file in (*corpus.left_out, *corpus.skipped)
    ]
    counts = {
        "output_tokens": result.output_tokens,
        "seconds": round(result.seconds, 3),
        "passages": len(corpus.passages),
        "embedded_passages": embedded,
    }
    whole = {**about, "answer": result.text, "sources": sources, **counts, "left_out": left_out}
    sys.stdout.write(json.dumps(whole) + "\n")
