"""Run the command line: ``python -m mlxcel_integrations``."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
