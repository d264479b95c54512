"""The command line: ``mlxcel-integrations`` with ``ask``, ``chat``, ``serve`` and others."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence

from .flags import in_flags
from .parser import UsageError, make_parser, parse_arguments
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
    parser = make_parser()
    options = parse_arguments(parser, argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A model may write characters that the encoding of the terminal lacks.
            stream.reconfigure(errors="replace")
    try:
        if options.command is None:
            parser.print_help()
            return 0
        return _run(options)
    except KeyboardInterrupt:
        return _report("\nStopped.", INTERRUPTED)
    except BrokenPipeError:
        # The reader has closed the pipe.
        _discard_output()
        return 1
    except Exception as error:  # noqa: BLE001 - it ends the program
        status = 2 if isinstance(error, UsageError) else 1
        return _report(_error_text(error, options.command), status)


def _run(options: argparse.Namespace) -> int:
    out, log = Terminal(sys.stdout), Terminal(sys.stderr)
    match options.command:
        case "ask":
            from .ask.command import Request, run_ask

            request = Request(
                options.files,
                options.question,
                framework=options.framework,
                model=options.model,
                base_url=options.base_url,
                embedding_model=options.embedding_model,
                embed_all=options.embed_all,
                keep=options.keep,
                as_json=options.json,
            )
            return run_ask(request, out, log)
        case "chat":
            from .chat import run_chat

            return run_chat(
                out,
                log,
                model=options.model,
                base_url=options.base_url,
                system=options.system,
                keep=options.keep,
            )
        case "serve":
            from .serve import run_serve

            return run_serve(
                out,
                log,
                options.model,
                socket=options.socket,
                host=options.host,
                port=options.port,
                ctx_size=options.ctx_size,
                embedding_model=options.embedding_model,
            )
        case "demo":
            from .demo import run_demo

            return run_demo(out)
        case "models":
            from .models import run_models

            return run_models(out, as_json=options.json)
        case "doctor":
            from .doctor import run_doctor

            return run_doctor(out, options.model, options.base_url, options.socket)
        case command:
            raise NotImplementedError(f"Nothing runs the command {command!r}.")


def _error_text(error: Exception, command: str) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "The output cannot be written: the disk is full. Make room, or write elsewhere."
    # Only these messages are ours: a traceback may quote a file or a server.
    if is_self_explanatory(error):
        return in_flags(str(error), command)
    return traceback.format_exc().rstrip()


def _report(message: str, status: int) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()
    sys.stderr.write(visible(message) + "\n")
    return status


def _discard_output() -> None:
    """Discard output that cannot be written; Python would report the error again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
