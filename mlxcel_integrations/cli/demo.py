"""``mlxcel-integrations demo``: two questions about the documentation, for a local model."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from .. import __version__
from .ask.answer import FRAMEWORKS, print_answer, require_packages
from .ask.passages import documentation_passages
from .ask.resources import open_search, open_store
from .engine import choose_engine
from .terminal import Terminal

__all__ = ["QUESTIONS", "run_demo"]

QUESTIONS = ("Which command checks the machine?", "Which model does the embedded engine run?")
"""Worded so that even a very small model finds the answers in the passages."""

_EMBEDDING_SECONDS = 5.0


def run_demo(terminal: Terminal) -> int:
    """Ask questions about the documentation, using the model that the environment names.

    Args:
        terminal: Where to print.

    Returns:
        The exit status.

    Raises:
        MlxcelError: A package or the engine is missing, or the server did not start.
        openai.APIError: The server rejected a question, or could not be reached.
    """
    langchain = FRAMEWORKS["langchain"]
    require_packages(langchain)
    terminal.piece(f"mlxcel-integrations {__version__}", "bold")
    terminal.line()
    terminal.line("Two questions about its own documentation, answered by a local model.")
    terminal.line()
    passages = documentation_passages()
    pages = len({passage.source for passage in passages})
    files = f"{pages} Markdown page{'s' if pages != 1 else ''}"
    terminal.fact("Files", f"{files}, {len(passages)} passages")
    with (
        open_store(terminal) as store,
        open_search(terminal, passages, store, choose_engine(), langchain) as search,
    ):
        base_url, llm, retrieval = search
        for question in QUESTIONS:
            terminal.line()
            terminal.fact("Question", question)
            retrieval.prepare(question, _EMBEDDING_SECONDS)
            terminal.label("Answer")
            print_answer(
                terminal, terminal, langchain, base_url, llm.model, retrieval.find, question
            )
    _print_next_steps(terminal)
    return 0


def _print_next_steps(terminal: Terminal) -> None:
    terminal.line()
    terminal.line("Next steps:")
    terminal.line(f"  your own model  MLXCEL_MODEL=/path/to/model.gguf {_command()} demo")
    terminal.line(f'  your own files  {_command()} ask FILE... "your question"')
    terminal.line("  your own code   from mlxcel_integrations.langchain import ChatMlxcel")
    terminal.line(f"  your machine    {_command()} doctor")


def _command() -> str:
    """Return how to call this program: as the user did if it is not on PATH."""
    name = "mlxcel-integrations"
    if shutil.which(name):
        return name
    path = Path(sys.argv[0])
    if path.name == "__main__.py":
        return "python -m mlxcel_integrations"
    return os.path.relpath(path)
