"""The command line: ``mlxcel-integrations ask``, ``demo``, ``doctor`` and ``models``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from .terminal import Terminal, is_self_explanatory, visible

__all__ = ["main"]

INTERRUPTED = 130
"""Exit status that a shell reports for a program ended by Ctrl-C."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments; None for those of the process.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A model may write characters that the encoding of the terminal lacks.
        sys.stdout.reconfigure(errors="replace")
    try:
        return _run(options)
    except KeyboardInterrupt:
        return _report("\nStopped.", INTERRUPTED)
    except BrokenPipeError:
        # The reader has closed the pipe. Without this, Python would report it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if not is_self_explanatory(error):
            raise
        return _report(str(error), 1)


class _Parser(argparse.ArgumentParser):
    """Quotes arguments, which may be names of files, without their control characters."""

    def error(self, message: str) -> NoReturn:
        super().error(visible(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "mlxcel-integrations", description="Try and check local models served by mlxcel."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    about = "answer a question from your own files, and cite the sources"
    _add_ask(commands.add_parser("ask", help=about, description=about.capitalize() + "."))
    about = "answer two questions about the documentation with a local model"
    commands.add_parser("demo", help=about, description=about.capitalize() + ".")
    about = "check this machine, and say how to fix what does not work"
    doctor = commands.add_parser("doctor", help=about, description=about.capitalize() + ".")
    engine = doctor.add_mutually_exclusive_group()
    engine.add_argument(
        "--base-url", metavar="URL", help="check the running server at this address"
    )
    engine.add_argument("--socket", metavar="PATH", help="check the running server on this socket")
    engine.add_argument("--model", metavar="MODEL", help="check that a server can run this model")
    about = "list the models that mlxcel has on this machine"
    models = commands.add_parser("models", help=about, description=about.capitalize() + ".")
    models.add_argument("--json", action="store_true", help="print a JSON list")
    return parser


def _add_ask(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="a text, Markdown or PDF file, or a folder of them"
    )
    parser.add_argument("--question", required=True, metavar="TEXT", help="the question")
    parser.add_argument(
        "--with",
        dest="framework",
        choices=["langchain", "llamaindex"],
        default="langchain",
        help="the framework that runs the chain (default: %(default)s)",
    )
    engine = parser.add_mutually_exclusive_group()
    engine.add_argument("--base-url", metavar="URL", help="use the running server at this address")
    engine.add_argument("--model", metavar="MODEL", help="start a server for this model")
    parser.add_argument(
        "--embedding-model", metavar="MODEL", help="a model for that server to embed with"
    )
    parser.add_argument(
        "--embed-all",
        action="store_true",
        help="embed all passages first, however long it takes; the vectors are kept",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object, and everything else to standard error",
    )


def _run(options: argparse.Namespace) -> int:
    if options.command == "ask":
        from .ask.command import run_ask

        return run_ask(
            Terminal(sys.stderr if options.json else sys.stdout),
            options.files,
            options.question,
            framework=options.framework,
            model=options.model,
            base_url=options.base_url,
            embedding_model=options.embedding_model,
            embed_all=options.embed_all,
            as_json=options.json,
        )
    terminal = Terminal(sys.stdout)
    if options.command == "demo":
        from .demo import run_demo

        return run_demo(terminal)
    if options.command == "models":
        from .models import run_models

        return run_models(terminal, as_json=options.json)
    from .doctor import run_doctor

    return run_doctor(terminal, options.model, options.base_url, options.socket)


def _report(message: str, status: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(visible(message) + "\n")
    return status
