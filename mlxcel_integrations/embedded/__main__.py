"""Run the embedded engine: ``python -m mlxcel_integrations.embedded serve -m embedded``."""

from __future__ import annotations

import sys

from .arguments import parse_arguments
from .server import main

if __name__ == "__main__":
    sys.exit(main(parse_arguments(sys.argv[1:])))
