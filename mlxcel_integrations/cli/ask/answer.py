"""Answer of a chain, printed while it is generated."""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...errors import MlxcelError
from ..reading import reading_line
from ..terminal import Terminal, on_one_line
from .documents import is_table
from .passages import Passage
from .prompt import prompt_style
from .tables import best_rows_first

__all__ = [
    "FRAMEWORKS",
    "NO_FRAMEWORK",
    "Answer",
    "Framework",
    "print_answer",
    "require_packages",
]


@dataclass(frozen=True, slots=True)
class Framework:
    """A framework that runs the chain, or none: the client of this package.

    Attributes:
        module: The module of this folder that uses it.
        package: The package that it is imported from, "" for none.
        extra: The extra that installs it, "" for none.
    """

    module: str
    package: str
    extra: str


NO_FRAMEWORK = Framework("client_chat", "", "")
FRAMEWORKS = {
    "langchain": Framework("langchain_chain", "langchain_core", "langchain"),
    "llamaindex": Framework("llama_index_engine", "llama_index", "llama-index"),
}
_PACKAGES = ("bs4", "mammoth", "markdownify", "numpy", "pypdf", "semantic_text_splitter", "Stemmer")

_MIN_SECONDS = 0.05
"""Shortest answer, in seconds, whose speed is shown: some arrive all at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, its sources and its speed.

    Attributes:
        text: The answer.
        sources: The passages in the prompt, best first.
        output_tokens: Number of tokens generated, 0 if the server does not report it.
        first: Seconds from the question to the first word, None if there was none.
        seconds: Seconds from the question to the end.
    """

    text: str
    sources: Sequence[Passage]
    output_tokens: int
    first: float | None
    seconds: float


def require_packages(framework: Framework) -> None:
    """Check that the packages needed are installed, before anything is started.

    Raises:
        MlxcelError: A package is missing.
    """
    needed = [*_PACKAGES, *filter(None, [framework.package])]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        extras = ",".join(filter(None, ["ask", framework.extra, "embedded"]))
        raise MlxcelError(
            f"Some packages are not installed ({', '.join(missing)}): "
            f"pip install 'mlxcel-integrations[{extras}]'."
        )


def print_answer(
    out: Terminal,
    log: Terminal,
    framework: Framework,
    base_url: str,
    model: str,
    find: Callable[[str, int], Sequence[Passage]],
    question: str,
) -> Answer:
    """Print the answer while it is generated, and then its sources.

    Args:
        out: Where to print them.
        log: Where to print the speed, and how much of the prompt is read.
        framework: The framework that runs the chain.
        base_url: Address of the server.
        model: Name of its model.
        find: Returns at most this many passages for a question, best first.
        question: The question.
    """
    style = prompt_style(model)
    sources: list[Passage] = []

    def find_sources(question: str) -> Sequence[Passage]:
        sources[:] = find(question, style.sources)
        if not style.best_rows_first:
            return sources
        return [
            replace(passage, text=best_rows_first(passage.text, question))
            if is_table(passage)
            else passage
            for passage in sources
        ]

    begin = time.monotonic()
    first, text, tokens = None, "", 0
    chain = importlib.import_module(f".{framework.module}", __package__)
    reading = reading_line(log)
    try:
        for piece, count in chain.stream_answer(
            base_url, find_sources, question, style.options, reading
        ):
            tokens = max(tokens, count)
            if first is None and piece.strip():
                first = time.monotonic() - begin
                piece = piece.lstrip()
                log.live()
            if first is not None:
                out.piece(piece)
                text += piece
    finally:
        if first is None:
            log.live()
    result = Answer(text.rstrip(), sources, tokens, first, time.monotonic() - begin)
    _print_end(out, log, result)
    return result


def _print_end(out: Terminal, log: Terminal, result: Answer) -> None:
    if result.first is None:
        out.line("(no answer)")
    else:
        out.line()
    for passage in result.sources:
        out.fact("Source", on_one_line(f"{passage.source}, {passage.place}"))
    log.fact("Speed", _speed_text(result))


def _speed_text(result: Answer) -> str:
    if result.first is None:
        return f"{result.output_tokens} tokens without text"
    text = f"first word after {result.first:.2f} s"
    rest, tokens = result.seconds - result.first, result.output_tokens
    # The time of the first token is not part of `rest`.
    return (
        f"{text}, {(tokens - 1) / rest:.0f} tokens/s"
        if tokens > 1 and rest > _MIN_SECONDS
        else text
    )
