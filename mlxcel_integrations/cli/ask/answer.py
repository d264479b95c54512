"""One answer: asked through a framework, and printed while it is generated."""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...errors import MlxcelError
from ..terminal import Terminal
from .passages import Passage
from .prompt import style_of

__all__ = ["FRAMEWORKS", "Answer", "Framework", "answer", "check_packages"]


@dataclass(frozen=True, slots=True)
class Framework:
    """What runs the chain.

    Attributes:
        module: The module of this folder that uses it.
        package: What must be installed for it.
        extra: What installs it.
    """

    module: str
    package: str
    extra: str


FRAMEWORKS = {
    "langchain": Framework("langchain_chain", "langchain_core", "langchain"),
    "llamaindex": Framework("llama_index_engine", "llama_index", "llama-index"),
}
_PACKAGES = ("bm25s", "numpy", "pypdf", "semantic_text_splitter", "Stemmer")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and how it came about.

    Attributes:
        text: The answer.
        sources: The passages that the model was given, the best first.
        output_tokens: How many tokens were generated, 0 if the server did not tell.
        first: Seconds from the question to the first word, None if there was none.
        seconds: Seconds from the question to the end.
    """

    text: str
    sources: Sequence[Passage]
    output_tokens: int
    first: float | None
    seconds: float


def check_packages(framework: Framework) -> None:
    """Check that what is needed is installed, before anything is started.

    Raises:
        MlxcelError: It is not.
    """
    needed = (*_PACKAGES, framework.package)
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise MlxcelError(
            f"This needs packages that are not installed ({', '.join(missing)}): "
            f"pip install 'mlxcel-integrations[ask,{framework.extra},embedded]'."
        )


def answer(
    terminal: Terminal,
    framework: Framework,
    base_url: str,
    model: str,
    find: Callable[[str, int], Sequence[Passage]],
    question: str,
) -> Answer:
    """Print the places of the passages that are found, and the answer while it is generated.

    Args:
        terminal: Where to print.
        framework: What runs the chain.
        base_url: The server that answers.
        model: What it serves.
        find: Returns so many passages for a question, the best first.
        question: What is asked.
    """
    style = style_of(model)
    sources: list[Passage] = []

    def find_and_tell(question: str) -> Sequence[Passage]:
        sources[:] = find(question, style.sources)
        for passage in sources:
            terminal.fact("Source", f"{passage.source}, {passage.place}")
        return sources

    begin = time.monotonic()
    first, text, tokens = None, "", 0
    chain = importlib.import_module(f".{framework.module}", __package__)
    for piece, count in chain.answer(base_url, find_and_tell, question, style.options):
        tokens = max(tokens, count)
        if first is None and piece.strip():
            first = time.monotonic() - begin
            terminal.label("Answer")
            piece = piece.lstrip()
        if first is not None:
            terminal.piece(piece)
            text += piece
    result = Answer(text.rstrip(), sources, tokens, first, time.monotonic() - begin)
    _print_end(terminal, result)
    return result


def _print_end(terminal: Terminal, result: Answer) -> None:
    if result.first is None:
        terminal.fact("Answer", f"(none: {result.output_tokens} tokens without text)")
        return
    terminal.line()
    terminal.fact("", _speed(result.first, result.seconds - result.first, result.output_tokens))


def _speed(first: float, rest: float, tokens: int) -> str:
    text = f"first word after {first:.2f} s"
    # The first token is there when the clock for the others starts.
    return f"{text}, {(tokens - 1) / rest:.0f} tokens/s" if tokens > 1 else text
