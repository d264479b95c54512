"""Command line of the engine: the part of ``mlxcel serve`` that it supports."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import NoReturn

__all__ = ["MAX_INT", "parse_arguments"]

SPEC_TYPES = ("none", "ngram-simple")
"""Ways to guess tokens ahead without a second model, as llama-server names them."""

MAX_INT = 2**31 - 1
"""The largest ``int`` of llama.cpp."""


class _Parser(argparse.ArgumentParser):
    """A parser with errors of one line, since they are shown as the reason why a start failed."""

    def error(self, message: str) -> NoReturn:
        """End the program with status 2."""
        self.exit(2, f"{self.prog}: error: {message}. --help shows the usage.\n")


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exit with status 2 if it is wrong."""
    # With abbreviations, a flag of another server could be taken for one of ours.
    parser = _Parser(
        prog="python -m mlxcel_integrations.embedded",
        description="Serve a GGUF model over the HTTP API of llama.cpp.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="serve")
    serve = commands.add_parser(
        "serve",
        help="serve a model until SIGTERM or SIGINT",
        epilog="The key that clients must send is taken from the variable LLAMA_API_KEY.",
        allow_abbrev=False,
    )
    _add_model(serve)
    _add_address(serve)
    _add_limits(serve)
    serve.add_argument("--verbose", action="store_true", help="log what llama.cpp does")
    return parser.parse_args(arguments)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-m", "--model", required=True, help="'embedded' for the built-in model, or a .gguf file"
    )
    parser.add_argument("-a", "--alias", help="name that clients see (default: name of the file)")
    template = parser.add_mutually_exclusive_group()
    template.add_argument("--chat-template", metavar="TEXT", help="chat template, in Jinja")
    template.add_argument("--chat-template-file", metavar="PATH", help="file of a chat template")


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", default="127.0.0.1", help="address, or path of a socket that ends in .sock"
    )
    parser.add_argument("--port", type=_between(0, 65535), default=8080, help="0 for any free port")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ctx-size",
        type=_between(0, MAX_INT),
        help="tokens of context of all slots together (default: 4096 for each, or less if the "
        "model was made for less); 0 for what it was made for, divided among the slots",
    )
    parser.add_argument(
        "--n-predict", type=_between(-1, MAX_INT), help="tokens of an answer, -1 for no limit"
    )
    parser.add_argument(
        "--n-parallel",
        "--parallel",
        type=_between(1, 256),
        default=2,
        help="slots: how many answers are generated at a time",
    )
    parser.add_argument(
        "--slot-save-path",
        metavar="DIR",
        help="directory where clients may save and restore slots",
    )
    parser.add_argument(
        "--spec-type",
        choices=SPEC_TYPES,
        default="none",
        help="how to guess tokens ahead: ngram-simple takes them from the text so far, which is "
        "faster where an answer quotes it",
    )
    parser.add_argument(
        "--warmup",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run the model once before serving",
    )


def _between(lowest: int, highest: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(f"{text} is not a number from {lowest} to {highest}")
        return number

    return convert
