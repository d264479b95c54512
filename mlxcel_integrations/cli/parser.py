"""Parser of the command line: the commands, their arguments and their help."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import NoReturn

from .. import __version__
from ..errors import MlxcelError
from .flags import WORDS
from .terminal import visible

__all__ = ["UsageError", "make_parser", "parse_arguments"]


class UsageError(MlxcelError):
    """The command line is not valid."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors show no control characters of arguments, which may be file names.

    Attributes:
        commands: The parsers of the commands.
    """

    commands: Mapping[str, argparse.ArgumentParser] = {}

    def error(self, message: str) -> NoReturn:
        super().error(visible(message))


def make_parser() -> Parser:
    """Return the parser, whose result has ``command`` None if no command is given."""
    parser = Parser(
        "mlxcel-integrations", description="Try, use and check local models served by mlxcel."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, (about, add_arguments) in _COMMANDS.items():
        command = commands.add_parser(
            name, help=about, description=f"{about[0].upper()}{about[1:]}."
        )
        add_arguments(command)
    parser.commands = commands.choices
    return parser


def parse_arguments(parser: Parser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; the options of ``ask`` may stand between its files."""
    options, rest = parser.parse_known_args(argv)
    if options.command == "ask" and not any(_is_option(each) for each in rest):
        # argparse takes only the files before the first option among them.
        options.files += rest
    elif rest:
        command = parser.commands.get(options.command, parser)
        command.error(_unknown_message(rest, options.command, command.format_help()))
    return options


def _unknown_message(arguments: Sequence[str], command: str | None, known: str) -> str:
    """Return the message about unknown arguments of a command, with suggestions.

    Args:
        arguments: All of them, and the values of options among them.
        command: The name of the command, if there is one.
        known: Its help, which has the names of its options.
    """
    options = [each.partition("=")[0] for each in arguments if _is_option(each)]
    if not options:
        return f"unrecognized arguments: {' '.join(arguments)}"
    flags, words = re.findall(r"--[\w-]+", known), WORDS.get(command or "", {})
    named = [f"{each}{_suggestion(each, flags, words)}" for each in options]
    return f"there is no option {', '.join(named)}"


def _is_option(argument: str) -> bool:
    return argument.startswith("-") and argument != "-"


def _suggestion(option: str, flags: Sequence[str], words: Mapping[str, str]) -> str:
    word = words.get(option.lstrip("-").replace("-", "_"))
    if word is not None:
        return f" ({'use' if word in flags else 'set'} {word})"
    near = difflib.get_close_matches(option, flags, n=1, cutoff=0.75)
    return f" (did you mean {near[0]}?)" if near else ""


def _add_ask(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s [options] FILE... ["QUESTION"]'
    parser.epilog = (
        "The answer and its sources go to standard output, everything else to standard error. The "
        "model sees only the passages that are found, and does not calculate: for sums over a "
        "table, use a spreadsheet or a database."
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="text, code, Markdown, PDF, .docx, HTML, CSV or JSON, a folder, or - for standard "
        "input; then the question, or you are asked for questions",
    )
    parser.add_argument(
        "-q", "--question", metavar="TEXT", help="the question, if it is not the last argument"
    )
    parser.add_argument(
        "--with",
        dest="framework",
        choices=["langchain", "llamaindex"],
        help="answer with a chain of this framework",
    )
    _add_engine(parser)
    parser.add_argument(
        "--embedding-model", metavar="MODEL", help="a second model for that server, for embeddings"
    )
    parser.add_argument(
        "--embed-all",
        action="store_true",
        help="embed all passages first, however long it takes; the vectors are kept",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object for each answer, and everything else to standard error",
    )


def _add_chat(parser: argparse.ArgumentParser) -> None:
    _add_engine(parser)
    parser.add_argument("--system", metavar="TEXT", help="instructions for the whole conversation")


def _add_serve(parser: argparse.ArgumentParser) -> None:
    model = parser.add_mutually_exclusive_group()
    model.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        default=argparse.SUPPRESS,
        help="the model (default: MLXCEL_MODEL, or the built-in one)",
    )
    model.add_argument("--model", metavar="MODEL", help="the same, as with other commands")
    parser.add_argument("--host", default=None, help="host to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--port", type=_port, default=None, help="port to listen on (default: 8080)"
    )
    parser.add_argument("--socket", metavar="PATH", help="listen on this Unix socket instead")
    parser.add_argument(
        "--ctx-size",
        metavar="TOKENS",
        type=_tokens,
        help="context of all slots together (default: that of the server)",
    )
    parser.add_argument("--embedding-model", metavar="MODEL", help="a second model, for embeddings")
    parser.epilog = "Set MLXCEL_API_KEY to the key that clients must send."


def _add_demo(parser: argparse.ArgumentParser) -> None:
    pass


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    engine = parser.add_mutually_exclusive_group()
    engine.add_argument(
        "--base-url", metavar="URL", help="check the running server at this address"
    )
    engine.add_argument("--socket", metavar="PATH", help="check the running server on this socket")
    engine.add_argument("--model", metavar="MODEL", help="check that a server can run this model")


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON list")


def _add_engine(parser: argparse.ArgumentParser) -> None:
    engine = parser.add_mutually_exclusive_group()
    engine.add_argument("--base-url", metavar="URL", help="use the running server at this address")
    engine.add_argument("--model", metavar="MODEL", help="start a server for this model")
    parser.add_argument(
        "--keep",
        metavar="SECONDS",
        type=_seconds,
        help="leave that server running this long, for the next command with this option",
    )


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 65535")
    return int(text)


def _tokens(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of tokens")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


_COMMANDS = {
    "ask": ("answer questions from your own files, and cite the sources", _add_ask),
    "chat": ("talk to a model in the terminal", _add_chat),
    "demo": ("answer two questions about the documentation with a local model", _add_demo),
    "doctor": ("check this machine, and say how to fix what does not work", _add_doctor),
    "models": ("list the models that mlxcel has on this machine", _add_models),
    "serve": ("serve a model to other programs, until Ctrl-C", _add_serve),
}
