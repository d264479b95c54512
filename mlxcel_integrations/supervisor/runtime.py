"""The directory in which those for sockets are made."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from ..errors import MlxcelError

__all__ = ["MAX_SOCKET_PATH_BYTES", "runtime_directory"]

MAX_SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
"""What fits into ``sockaddr_un.sun_path``, its final zero aside."""


def runtime_directory(below: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory for things that live as long as a program does.

    Args:
        below: What the longest path in it will look like below it; all of it must fit.
        environ: Where ``XDG_RUNTIME_DIR`` and ``TMPDIR`` are looked up.

    Raises:
        MlxcelError: There is none with a path that is short enough.
    """
    # Not tempfile.gettempdir(): a fork while it looks around for the first time leaves a lock
    # behind, on which the child waits for ever.
    for parent in (environ.get("XDG_RUNTIME_DIR"), environ.get("TMPDIR"), "/tmp"):
        path = Path(parent or "").absolute()
        fits = len(os.fsencode(path / below)) <= MAX_SOCKET_PATH_BYTES
        if parent and fits and os.access(path, os.W_OK | os.X_OK):
            return path
    raise MlxcelError(
        "No temporary directory is writable and has a short enough path: set TMPDIR to another one."
    )
