"""The directory in which those for sockets are made."""

from __future__ import annotations

import os
import sys
import tempfile
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
        environ: Where ``XDG_RUNTIME_DIR`` is looked up.

    Raises:
        MlxcelError: There is none with a path that is short enough.
    """
    runtime = environ.get("XDG_RUNTIME_DIR")
    candidates = [runtime] if runtime and os.access(runtime, os.W_OK | os.X_OK) else []
    for parent in [*candidates, tempfile.gettempdir(), "/tmp"]:
        path = Path(parent).absolute()
        if len(os.fsencode(path / below)) <= MAX_SOCKET_PATH_BYTES:
            return path
    raise MlxcelError("No temporary directory has a short enough path: set TMPDIR to another one.")
