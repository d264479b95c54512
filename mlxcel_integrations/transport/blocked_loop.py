"""Blocked event loops: a warning when a synchronous call waits for an answer in one."""

from __future__ import annotations

import sys

from ..errors import warn_caller

__all__ = ["warn_of_blocked_loop"]

_warned = False


def warn_of_blocked_loop() -> None:
    """Warn, once in a program, that a synchronous call for an answer blocks the event loop.

    Not in a notebook, where a loop always runs, and nothing else waits for it.
    """
    global _warned
    # Where asyncio was not imported, no loop runs.
    asyncio = sys.modules.get("asyncio")
    blocked = asyncio and asyncio._get_running_loop() and "ipykernel" not in sys.modules
    if blocked and not _warned:
        _warned = True
        warn_caller(
            "A synchronous call waits for an answer in a running event loop, and stops everything "
            "else in it. Use AsyncLLM, or the asynchronous method of the same name (ainvoke, "
            "achat, acomplete, ...)."
        )
