"""Scripted servers in a process of their own, which leave the test's processor time alone.

Run with how many there are and the seconds between two tokens; prints their ports.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from tests.fakes.server import FakeServer

    count, token_seconds = int(sys.argv[1]), float(sys.argv[2])
    servers = [FakeServer() for _ in range(count)]
    for server in servers:
        server.token_seconds = token_seconds
    print(*[server.port for server in servers], flush=True)
    sys.stdin.read()
