"""Messages of this package in the words of its command line."""

from __future__ import annotations

import re
import shlex

__all__ = ["in_flags"]

_FLAGS = {
    "base_url": "--base-url",
    "embedding_model": "--embedding-model",
    "host": "--host",
    "keep_alive": "--keep",
    "model": "--model",
    "port": "--port",
    "socket": "--socket",
}

_OPTION = re.compile(rf"""\b({"|".join(_FLAGS)})=(?:(['"])(.*?)\2)?""")


def in_flags(message: str) -> str:
    """Return a message about options of Python with those of the command line.

    Lines that quote a server stay as they are.

    Example:
        >>> from mlxcel_integrations.cli.flags import in_flags
        >>> in_flags("drop model='owner/name' to use base_url=.")
        'drop --model owner/name to use --base-url.'
    """
    lines = message.split("\n")
    return "\n".join(line if line.startswith("  |") else _OPTION.sub(_flag, line) for line in lines)


def _flag(option: re.Match[str]) -> str:
    flag, value = _FLAGS[option[1]], option[3]
    return flag if value is None else f"{flag} {shlex.quote(value)}"
