"""The command line: ``mlxcel-integrations ask``, ``demo`` and ``doctor``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from .. import __version__
from .failures import is_for_the_user
from .terminal import Terminal

__all__ = ["main"]

INTERRUPTED = 130
"""What a shell reports for a program that Ctrl-C ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments; those of the process if None.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A model may write any character, whatever the terminal can show.
        sys.stdout.reconfigure(errors="replace")
    try:
        return _run(options)
    except KeyboardInterrupt:
        return _end("\nStopped.", INTERRUPTED)
    except BrokenPipeError:
        # The reader has what it wanted; at exit, Python must not find the pipe closed once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if not is_for_the_user(error):
            raise
        return _end(str(error), 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "mlxcel-integrations", description="Local models served by mlxcel, tried and checked."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    about = "answer a question from your own files, with the sources"
    _add_ask(commands.add_parser("ask", help=about, description=about.capitalize() + "."))
    about = "answer two questions over the documentation on a local model"
    commands.add_parser("demo", help=about, description=about.capitalize() + ".")
    about = "check this machine, and say what to do about what does not work"
    doctor = commands.add_parser("doctor", help=about, description=about.capitalize() + ".")
    what = doctor.add_mutually_exclusive_group()
    what.add_argument("--base-url", metavar="URL", help="check the running server at this address")
    what.add_argument("--socket", metavar="PATH", help="check the running server at this socket")
    what.add_argument("--model", metavar="MODEL", help="check that a server for it can be started")
    return parser


def _add_ask(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="text, Markdown or PDF; or a folder with such"
    )
    parser.add_argument("--question", required=True, metavar="TEXT", help="what you want to know")
    parser.add_argument(
        "--with",
        dest="framework",
        choices=["langchain", "llamaindex"],
        default="langchain",
        help="what runs the chain (default: %(default)s)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--base-url", metavar="URL", help="use the running server at this address")
    what.add_argument("--model", metavar="MODEL", help="start a server for this model")
    parser.add_argument(
        "--embedding-model", metavar="MODEL", help="a second model for that server, for the search"
    )
    parser.add_argument(
        "--embed-all",
        action="store_true",
        help="first embed all passages, however long it takes; they are kept",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object; all else to standard error"
    )


def _run(options: argparse.Namespace) -> int:
    if options.command == "ask":
        from .ask.command import ask

        return ask(
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
        from .demo import demo

        return demo(terminal)
    from .doctor import doctor

    return doctor(terminal, options.model, options.base_url, options.socket)


def _end(message: str, status: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(message + "\n")
    return status
