"""Messages of this package in the words of its command line."""

from __future__ import annotations

import re
import shlex

__all__ = ["WORDS", "in_flags"]

_COMMON_WORDS = {"api_key": "MLXCEL_API_KEY", "binary": "MLXCEL_BIN"}
_CHAT_WORDS = _COMMON_WORDS | {
    "base_url": "--base-url",
    "keep_alive": "--keep",
    "model": "--model",
    "socket": "MLXCEL_SOCKET",
}

WORDS = {
    "ask": _CHAT_WORDS | {"embedding_model": "--embedding-model"},
    "chat": _CHAT_WORDS,
    "demo": _COMMON_WORDS
    | {"base_url": "MLXCEL_BASE_URL", "model": "MLXCEL_MODEL", "socket": "MLXCEL_SOCKET"},
    "doctor": _COMMON_WORDS | {"base_url": "--base-url", "model": "--model", "socket": "--socket"},
    "models": _COMMON_WORDS,
    "serve": _COMMON_WORDS
    | {
        "ctx_size": "--ctx-size",
        "embedding_model": "--embedding-model",
        "host": "--host",
        "model": "--model",
        "port": "--port",
        "socket": "--socket",
    },
}
"""For each command, the flag or environment variable in place of each option of Python."""

_PHRASES = {
    "neither binary= nor MLXCEL_BIN is given": "MLXCEL_BIN is not set",
    "Pass the server's key as api_key=, or set MLXCEL_API_KEY": (
        "Set MLXCEL_API_KEY to the server's key"
    ),
    "pass the key as api_key= instead": "set MLXCEL_API_KEY to the key instead",
    "pass as verify= a PEM file": "set SSL_CERT_FILE to a PEM file",
    # Another command starts the server.
    "a larger ctx_size": "a larger --ctx-size",
    "pass embedding_model= to the object that starts the server (--embedding-model on the command "
    "line of mlxcel after 0.4.2)": "start mlxcel (after 0.4.2) with --embedding-model",
}
"""Advice that the command line words differently."""


def in_flags(message: str, command: str) -> str:
    """Return a message about options of Python in the words of a command.

    Options that only Python has are marked. Lines that quote a server stay as they are.

    Args:
        message: The message.
        command: The name of the command.

    Example:
        >>> from mlxcel_integrations.cli.flags import in_flags
        >>> in_flags("drop model='owner/name', or raise timeout=.", "ask")
        'drop --model owner/name, or raise timeout= in Python.'
    """
    from ..keywords import ClientKeywords

    words, names = WORDS[command], {"model", *ClientKeywords.__annotations__}
    option = re.compile(rf"""\b({"|".join(names)})=(?:(['"])(.*?)\2|([\w.]*\w))?""")

    def in_words(found: re.Match[str]) -> str:
        word, value = words.get(found[1]), found[3] or found[4]
        if word is None:
            return f"{found[0]} in Python"
        if value is None:
            return word
        return f"{word}{' ' if word.startswith('-') else '='}{shlex.quote(value)}"

    def rewritten(line: str) -> str:
        for phrase, replacement in _PHRASES.items():
            line = line.replace(phrase, replacement)
        return option.sub(in_words, line)

    lines = message.split("\n")
    return "\n".join(line if line.startswith("  |") else rewritten(line) for line in lines)
