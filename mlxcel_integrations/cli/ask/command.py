"""Command ``mlxcel-integrations ask``: read files, find passages, print the answers."""

from __future__ import annotations

import itertools
import json
import math
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine import choose_engine
from ..lines import answer_lines, at_prompt, read_lines
from ..parser import UsageError
from ..terminal import Terminal, on_one_line
from .answer import FRAMEWORKS, NO_FRAMEWORK, Answer, print_answer, require_packages
from .documents import is_table
from .files import STANDARD_INPUT, Corpus, path_of
from .passages import Passage
from .resources import embedding_server, open_search, open_store
from .store import Store

__all__ = ["Request", "run_ask", "split_question"]

_EMBEDDING_SECONDS = 1.5
"""How long a question waits for passages to be embedded; the last batch may take longer."""

_MAX_LISTED = 5
_QUESTION_MARKS = ("?", "\uff1f", "\u061f")
"""The question marks of ASCII, of Chinese and Japanese (full-width), and of Arabic."""


@dataclass(frozen=True, slots=True)
class Request:
    """The options of the command.

    Attributes:
        names: Files and folders, and perhaps the question after them.
        question: The question; None to ask for questions.
        framework: ``langchain`` or ``llamaindex``; None for the client of this package.
        model: A model to start a server for.
        base_url: Address of a running server.
        embedding_model: A second model for that server, for embeddings.
        embed_all: Whether to wait until all passages are embedded.
        keep: Seconds that the server stays for the next question.
        as_json: Whether to print a JSON object for each answer.
    """

    names: Sequence[str]
    question: str | None = None
    framework: str | None = None
    model: str | None = None
    base_url: str | None = None
    embedding_model: str | None = None
    embed_all: bool = False
    keep: float | None = None
    as_json: bool = False


def run_ask(request: Request, out: Terminal, log: Terminal) -> int:
    """Answer questions from files.

    Args:
        request: The options.
        out: Where to print answers and sources.
        log: Where to print everything else.

    Returns:
        The exit status.

    Raises:
        MlxcelError: No file can be read, a package or the engine is missing, or the server did
            not start.
        UsageError: There is no question, or an option does not fit.
        openai.APIError: The server rejected the question, or could not be reached.
    """
    names, named = split_question(request.names, request.question)
    questions = _typed_or_piped(log) if named is None else iter([named])
    framework = FRAMEWORKS[request.framework] if request.framework else NO_FRAMEWORK
    require_packages(framework)
    options: dict[str, Any] = {"keep": request.keep}
    if request.embedding_model is not None:
        options["embedding_model"] = request.embedding_model
    with open_store(log) as store:
        corpus = _read_files(log, names, store)
        choice = choose_engine(request.model, request.base_url)
        with (
            embedding_server(log, corpus.passages, choice, options) as embedder,
            open_search(log, corpus.passages, store, choice, framework, embedder, **options) as (
                base_url,
                llm,
                retrieval,
            ),
        ):
            log.line()
            # A typed question already stands above its answer, a piped one does not.
            shown = named is None and not (at_prompt() and sys.stdout.isatty())

            def answer(question: str) -> None:
                seconds = math.inf if request.embed_all else _EMBEDDING_SECONDS
                retrieval.prepare(question, seconds)
                place = log if request.as_json else out
                if shown:
                    place.fact("Question", question)
                result = print_answer(
                    place, log, framework, base_url, llm.model, retrieval.find, question
                )
                _warn_about_tables(log, result.sources, corpus.passages)
                if request.as_json:
                    about = {"question": question, "framework": request.framework}
                    about["model"] = llm.model
                    _print_json(about, result, corpus, retrieval.embedded)

            if named is not None:
                answer(named)
            else:
                answer_lines(questions, log, "ask", answer)
    return 0


def split_question(names: Sequence[str], question: str | None) -> tuple[Sequence[str], str | None]:
    """Return the files and the question, which may be the last of the arguments.

    Raises:
        UsageError: The question is empty or comes first, there is no file, or no way to ask for
            a question.
    """
    if question is None and _is_question(names[-1]):
        *names, question = names
    elif question is None and _is_question(names[0]) and names[0].endswith(_QUESTION_MARKS):
        first, *files = map(shlex.quote, names)
        raise UsageError(
            f"The question comes last: mlxcel-integrations ask {' '.join(files)} {first}."
        )
    if question is not None and not question.strip():
        raise UsageError('The question is empty. Pass one, as in -q "What is this?".')
    if not names:
        raise UsageError(f'No file is named: mlxcel-integrations ask FILE "{question}".')
    if question is None and STANDARD_INPUT in names:
        raise UsageError(
            "Standard input is read as a file, so no question can be typed there. "
            'Pass one, as in -q "What is this?".'
        )
    return names, question


def _is_question(argument: str) -> bool:
    """Return whether an argument is a question, not a file: several words or a question mark."""
    stripped = argument.strip()
    if len(stripped.split()) < 2 and not stripped.endswith(_QUESTION_MARKS):
        return argument != "" and not stripped
    try:
        return not path_of(argument).exists()
    except (OSError, ValueError):
        # It is too long for a path, or has a zero byte.
        return True


def _typed_or_piped(log: Terminal) -> Iterator[str]:
    """Return the questions on standard input; if they are piped, wait for the first.

    Raises:
        UsageError: There are no questions.
    """
    lines = read_lines(log)
    if at_prompt():
        return lines
    first = next(lines, None)
    if first is None:
        raise UsageError(
            'There is no question: pass one, as in -q "What is this?", or write one on each line '
            "of standard input."
        )
    return itertools.chain([first], lines)


def _read_files(log: Terminal, names: Sequence[str], store: Store) -> Corpus:
    corpus = Corpus()
    with log.waiting("Reading", lambda: corpus.progress):
        corpus.read(names, store)
    count = len(corpus.passages)
    log.fact("Files", f"{corpus.files} read, {count} passage{'s' if count != 1 else ''}")
    for file in corpus.left_out[:_MAX_LISTED]:
        log.fact("Left out", on_one_line(f"{file.name}: {file.reason}"))
    more = len(corpus.left_out) - _MAX_LISTED
    if more > 0:
        log.fact("Left out", f"{more} more")
    if corpus.skipped:
        log.fact("Left out", corpus.skipped_text)
    return corpus


def _warn_about_tables(
    log: Terminal, sources: Sequence[Passage], passages: Sequence[Passage]
) -> None:
    """Warn that an answer from part of a table cannot be a sum over all of it."""
    tables = {passage.source for passage in sources if is_table(passage)}
    for name in sorted(tables):
        if sum(p.source == name for p in passages) > sum(p.source == name for p in sources):
            log.fact(
                "Table",
                f"the model saw only some rows of {on_one_line(name)}, and does not calculate: for "
                "sums, counts and averages, use a spreadsheet or a database.",
            )


def _print_json(
    about: dict[str, str | None], result: Answer, corpus: Corpus, embedded: int | None
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
    sys.stdout.flush()
