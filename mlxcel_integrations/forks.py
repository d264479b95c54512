"""Forks of this program: locks that a child can take, and what no fork may interrupt."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterable

__all__ = ["between_forks", "fork_safe_lock", "import_each"]

between_forks = threading.RLock()
"""Held by a thread while it imports modules, makes a TLS context or starts a process, so that no
other thread forks.

In a child, the lock of a module that was being imported stays locked forever, and so do the locks
of OpenSSL. A child would also inherit the pipe that tells ``Popen`` that the process runs, and
``Popen`` would wait until the child ends.
"""
if hasattr(os, "register_at_fork"):  # pragma: no branch # not on Windows
    os.register_at_fork(
        before=between_forks.acquire,
        after_in_parent=between_forks.release,
        after_in_child=between_forks.release,
    )


def import_each(names: Iterable[str]) -> None:
    """Import modules, so that no other thread forks meanwhile."""
    with between_forks:
        for name in names:
            importlib.import_module(name)


def fork_safe_lock() -> threading.RLock:
    """Return a lock that is free in a forked child, where no other thread can hold it."""
    lock = threading.RLock()
    if hasattr(os, "register_at_fork"):  # pragma: no branch # not on Windows
        free = lock._at_fork_reinit  # type: ignore[attr-defined]  # Python frees its own with it
        os.register_at_fork(after_in_child=free)
    return lock
