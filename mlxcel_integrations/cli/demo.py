"""``mlxcel-integrations demo``: two questions over the documentation, on a local model."""

from __future__ import annotations

import os
import shutil
import sys

from .. import __version__
from .ask.answer import FRAMEWORKS, answer, check_packages
from .ask.command import open_store, searching
from .ask.passages import documentation
from .engine import choose
from .terminal import Terminal

__all__ = ["QUESTIONS", "demo"]

QUESTIONS = ("Which command checks the machine?", "Which model does the embedded engine run?")
"""Worded so that even a very small model finds the answers in the passages."""

_EMBEDDING_SECONDS = 5.0


def demo(terminal: Terminal) -> int:
    """Ask questions over the documentation, on the model that the environment names.

    Args:
        terminal: Where to print.

    Returns:
        The exit status.

    Raises:
        MlxcelError: A package or the engine is missing, or the server did not start.
        openai.APIError: The server refused a question, or could not be reached.
    """
    langchain = FRAMEWORKS["langchain"]
    check_packages(langchain)
    terminal.line(terminal.styled(f"mlxcel-integrations {__version__}", "bold"))
    terminal.line("Two questions over its own documentation, on a local model.")
    terminal.line()
    passages = documentation()
    pages = {passage.source for passage in passages}
    terminal.fact("Files", f"{len(pages)} Markdown pages, {len(passages)} passages")
    with (
        open_store(terminal) as store,
        searching(terminal, passages, store, choose(), langchain) as (base_url, llm, retrieval),
    ):
        for question in QUESTIONS:
            terminal.line()
            terminal.fact("Question", question)
            retrieval.prepare(question, _EMBEDDING_SECONDS)
            answer(terminal, langchain, base_url, llm.model, retrieval.find, question)
    _say_what_next(terminal)
    return 0


def _say_what_next(terminal: Terminal) -> None:
    terminal.line()
    terminal.line("What next:")
    terminal.line(f"  your own model  MLXCEL_MODEL=/path/to/model.gguf {_command()} demo")
    terminal.line(f'  your own files  {_command()} ask FILE... --question "..."')
    terminal.line("  your own code   from mlxcel_integrations.langchain import ChatMlxcel")
    terminal.line(f"  your machine    {_command()} doctor")


def _command() -> str:
    """Return how to call this program: by its path where its environment is not active."""
    name = "mlxcel-integrations"
    return name if shutil.which(name) else os.path.relpath(sys.argv[0])
