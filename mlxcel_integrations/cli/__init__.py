"""The command line: ``mlxcel-integrations demo`` and ``mlxcel-integrations doctor``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import MlxcelError
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
        return _run(options, Terminal(sys.stdout))
    except KeyboardInterrupt:
        return _end("\nStopped.", INTERRUPTED)
    except BrokenPipeError:
        # The reader has what it wanted; at exit, Python must not find the pipe closed once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MlxcelError as error:
        return _end(str(error), 1)
    except Exception as error:
        import openai

        if not isinstance(error, openai.OpenAIError):
            raise
        return _end(str(error), 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "mlxcel-integrations", description="Local models served by mlxcel, tried and checked."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    about = "answer two questions over the documentation on a local model"
    commands.add_parser("demo", help=about, description=about.capitalize() + ".")
    about = "check this machine, and say what to do about what does not work"
    doctor = commands.add_parser("doctor", help=about, description=about.capitalize() + ".")
    what = doctor.add_mutually_exclusive_group()
    what.add_argument("--base-url", metavar="URL", help="check the running server at this address")
    what.add_argument("--socket", metavar="PATH", help="check the running server at this socket")
    what.add_argument("--model", metavar="MODEL", help="check that a server for it can be started")
    return parser


def _run(options: argparse.Namespace, terminal: Terminal) -> int:
    if options.command == "demo":
        from .demo import demo

        return demo(terminal)
    from .doctor import doctor

    return doctor(terminal, options.model, options.base_url, options.socket)


def _end(message: str, status: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(message + "\n")
    return status
