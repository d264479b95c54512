"""Long texts for prompts: log books of a ship."""

from __future__ import annotations

__all__ = ["log_book"]


def log_book(entries: int, port: int = 7, name: str = "day") -> str:
    """Return the log book of a ship.

    Args:
        entries: How many there are; each has some 19 tokens.
        port: What makes it another ship's.
        name: What each entry is about.
    """
    return " ".join(
        f"On {name} {at} the ship left port {at * port % 23} with {at * 13 % 97} crates of fruit."
        for at in range(1, entries + 1)
    )
