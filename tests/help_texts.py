"""The options of a connection, in the docstring of `LLM` and among its keyword arguments.

`python -m tests.help_texts` writes them; tests/reference.py writes those of the pages.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path

from pydantic import BaseModel

from mlxcel_integrations.options.fields import ChatOptions, ConnectionOptions

ROOT = Path(__file__).parents[1]
CLIENT = ROOT / "mlxcel_integrations" / "client.py"
KEYWORDS = ROOT / "mlxcel_integrations" / "keywords.py"
COMMAND = "python -m tests.help_texts"

HEEDED = ("check_context", "merge_messages")
"""Options of chats that belong to the connection of a client."""

ACCEPTED = {
    "Headers": "Mapping[str, str] | None",
    "Key": "str | None",
    "PathText": "str | os.PathLike[str] | None",
    "Verify": "bool | str | os.PathLike[str]",
}
"""What a client accepts for each type of `options/converted.py`."""

TYPES = {"timeout": "float | httpx.Timeout | None"}
"""Other types that differ from those of the fields."""


def arguments() -> str:
    """Return the entries of `LLM`'s docstring for options of a connection."""
    heeded = {name: ChatOptions.model_fields[name] for name in HEEDED}
    wrapper = textwrap.TextWrapper(100, initial_indent=" " * 8, subsequent_indent=" " * 12)
    return "".join(
        wrapper.fill(f"{name}: {field.description}") + "\n"
        for name, field in (ConnectionOptions.model_fields | heeded).items()
    )


def with_arguments(code: str) -> str:
    """Return the code of the client with the entries of today."""
    before, begin, rest = code.partition("    Args:\n")
    _, end, after = rest.partition("        transport: ")
    return before + begin + arguments() + end + after


def keywords() -> str:
    """Return the entries of `ConnectionKeywords`, as type checkers and editors read them."""
    chat = annotations(ChatOptions)
    fields = annotations(ConnectionOptions) | {name: chat[name] for name in HEEDED}
    # An argument of its own.
    del fields["model"]
    return "".join(f"    {name}: {keyword(name, fields[name])}\n" for name in fields)


def annotations(options: type[BaseModel]) -> dict[str, str]:
    """Return the types of the fields of a class, as its code writes them."""
    return dict(
        re.findall(r"^    (\w+): (.+?) = Field\(", inspect.getsource(options), re.MULTILINE)
    )


def keyword(name: str, annotation: str) -> str:
    """Return the type of a keyword argument: what the field of its name accepts."""
    return TYPES.get(name) or ACCEPTED.get(annotation, annotation)


def with_keywords(code: str) -> str:
    """Return the code of the keyword arguments with the entries of today."""
    before, begin, rest = code.partition('that a connection heeds."""\n\n')
    _, end, after = rest.partition("\n\nclass ServerKeywords")
    return before + begin + keywords() + end + after


if __name__ == "__main__":
    CLIENT.write_text(with_arguments(CLIENT.read_text()))
    KEYWORDS.write_text(with_keywords(KEYWORDS.read_text()))
