"""Token ids and texts: ``/tokenize`` and ``/detokenize``."""

from __future__ import annotations

from typing import Any

from ..errors import MlxcelError

__all__ = ["read_text", "read_tokens"]


def read_tokens(answer: Any) -> list[int]:
    """Read the answer of ``/tokenize``.

    Raises:
        MlxcelError: It holds no tokens.
    """
    try:
        return list(answer["tokens"])
    except (KeyError, TypeError):
        raise MlxcelError(_unreadable("/tokenize")) from None


def read_text(answer: Any) -> str:
    """Read the answer of ``/detokenize``.

    Raises:
        MlxcelError: It holds no text.
    """
    try:
        return str(answer["content"])
    except (KeyError, TypeError):
        raise MlxcelError(_unreadable("/detokenize")) from None


def _unreadable(route: str) -> str:
    return (
        f"The server's {route} answered in an unknown form. Check that the address is that of an "
        "mlxcel server."
    )
