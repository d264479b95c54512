"""A key that shows itself to nobody by accident."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Secret", "hidden"]


class Secret:
    """A key that no repr, no traceback with locals and no pickle shows.

    Args:
        value: The key.

    Attributes:
        reveal: Returns the key. What it returns must not get a name: a traceback would show it.
    """

    __slots__ = ("reveal",)

    def __init__(self, value: str) -> None:
        # In a closure, where nothing that walks through attributes finds it.
        self.reveal: Callable[[], str] = lambda: value

    def __repr__(self) -> str:
        return "Secret('***')"


def hidden(key: str | Secret | None) -> Secret | None:
    """Return a key as a secret, None for none; keys from files end in a line end."""
    if isinstance(key, Secret):
        return key
    return Secret(key.strip()) if key else None
