"""Supervisor of a server process: starts, watches and stops it."""

import sys

from ..errors import MlxcelError

if sys.platform == "win32":
    raise MlxcelError(
        "A model server cannot be started on Windows. Run this program in WSL (wsl --install), or "
        "pass base_url= to use a server that is running there or on another machine."
    )
