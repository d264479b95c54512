"""The options: in the docstring of `LLM`, and as the keyword arguments of the clients.

`python -m tests.help_texts` writes them; tests/reference.py writes those of the pages.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path

from pydantic import BaseModel

from mlxcel_integrations.options.fields import (
    ChatOptions,
    ConnectionOptions,
    SamplingParams,
    ServerOptions,
)

ROOT = Path(__file__).parents[1]
CLIENT = ROOT / "mlxcel_integrations" / "client.py"
KEYWORDS = ROOT / "mlxcel_integrations" / "keywords.py"
COMMAND = "python -m tests.help_texts"

HEEDED = ("check_context", "merge_messages")
"""Options of chats that belong to the connection of a client."""

ACCEPTED = {
    "Headers": "Mapping[str, str] | None",
    "Key": "str | None",
    "OptionalSeconds": "float | None",
    "PathText": "str | os.PathLike[str] | None",
    "PositiveSeconds": "float",
    "Seconds": "float",
    "Verify": "bool | str | os.PathLike[str]",
}
"""What a client accepts for each type of `options/option_types.py`."""

TYPES = {
    "timeout": "float | httpx.Timeout | None",
    "extra_args": "list[str] | tuple[str, ...]",
    "stop": "str | Sequence[str] | None",
    "response_format": "Mapping[str, Any] | type | None",
}
"""Types of keywords that differ from those of the fields, apart from containers."""


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


def keywords() -> dict[str, str]:
    """Return the body of each class of keywords that are options, by the name of the class."""
    chat = annotations(ChatOptions)
    connection = annotations(ConnectionOptions) | {name: chat[name] for name in HEEDED}
    # An argument of its own.
    del connection["model"]
    classes = {
        "ConnectionKeywords": connection,
        "ServerKeywords": annotations(ServerOptions),
        "SamplingKeywords": annotations(SamplingParams),
    }
    return {
        kind: "".join(f"    {name}: {keyword(name, fields[name])}\n" for name in fields)
        for kind, fields in classes.items()
    }


def annotations(options: type[BaseModel]) -> dict[str, str]:
    """Return the types of the fields of a class, as its code writes them."""
    return dict(
        re.findall(r"^    (\w+): (.+?) = Field\(", inspect.getsource(options), re.MULTILINE)
    )


def keyword(name: str, annotation: str) -> str:
    """Return the type of a keyword argument: what the field of its name accepts."""
    given = annotation.replace("dict[", "Mapping[").replace("list[", "Sequence[")
    return TYPES.get(name) or ACCEPTED.get(annotation, given)


def with_keywords(code: str) -> str:
    """Return the code of the keyword arguments with the entries of today."""
    for kind, body in keywords().items():
        start = rf'(class {kind}\(.*\n    """.*"""\n\n)'
        code, found = re.subn(rf"{start}(?:    .*\n)+", rf"\g<1>{body}", code)
        assert 1 == found, f"keywords.py needs a class {kind} with a docstring of one line."
    return code


if __name__ == "__main__":
    CLIENT.write_text(with_arguments(CLIENT.read_text()))
    KEYWORDS.write_text(with_keywords(KEYWORDS.read_text()))
