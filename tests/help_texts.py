"""The help texts of options, in the docstring of `LLM`.

`python -m tests.help_texts` writes them; tests/reference.py writes those of the pages.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from mlxcel_integrations.options.fields import ChatOptions, ConnectionOptions

ROOT = Path(__file__).parents[1]
CLIENT = ROOT / "mlxcel_integrations" / "client.py"
COMMAND = "python -m tests.help_texts"


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


if __name__ == "__main__":
    CLIENT.write_text(with_arguments(CLIENT.read_text()))
