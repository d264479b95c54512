"""The help texts of options, where readers look for them.

`python -m tests.help_texts` writes them into the docstring of `LLM` and into docs/reference.md.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from mlxcel_integrations.options.fields import (
    ChatOptions,
    ConnectionOptions,
    EmbeddingOptions,
    RerankOptions,
    SamplingParams,
    ServerOptions,
)

ROOT = Path(__file__).parents[1]
CLIENT = ROOT / "mlxcel_integrations" / "client.py"
REFERENCE = ROOT / "docs" / "reference.md"
COMMAND = "python -m tests.help_texts"

OPTIONS: list[type[BaseModel]] = [
    ConnectionOptions,
    ServerOptions,
    SamplingParams,
    ChatOptions,
    EmbeddingOptions,
    RerankOptions,
]
TABLE_HEAD = "| Name | Default | Meaning |\n| --- | --- | --- |\n"


def arguments() -> str:
    """Return the entries of `LLM`'s docstring for options of a connection."""
    heeded = {name: ChatOptions.model_fields[name] for name in ("check_context", "merge_messages")}
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


def rows(options: type[BaseModel]) -> str:
    """Return a row of a table for each field."""
    return "".join(
        f"| `{name}` | {_default(field.get_default())} | {field.description} |\n"
        for name, field in options.model_fields.items()
    )


def _default(value: object) -> str:
    return "" if value in (None, (), PydanticUndefined) else f"`{value!r}`"


def with_tables(page: str) -> str:
    """Return the reference with the tables of today."""
    for options in OPTIONS:
        head = f"### {options.__name__}\n\n{TABLE_HEAD}"
        before, _, rest = page.partition(head)
        page = before + head + rows(options) + re.sub(r"^(\|.*\n)+", "", rest)
    return page


if __name__ == "__main__":
    CLIENT.write_text(with_arguments(CLIENT.read_text()))
    REFERENCE.write_text(with_tables(REFERENCE.read_text()))
