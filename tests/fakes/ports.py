"""Ports of TCP that stay free until the test that asked for one listens there.

A port that the system gives out can be given out again as soon as it is closed, to a neighbour or
to any connection. These are below all that Linux and macOS give out.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket

FIRST, COUNT = 10_000, 6_000
# Tests that run side by side, in processes one after the other, begin far from each other.
_numbers = itertools.count(os.getpid() * 997)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port on which nobody listens, another one each time."""
    for number in itertools.islice(_numbers, COUNT):
        port = FIRST + number % COUNT
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((host, port))
            return port
    raise OSError(f"no port from {FIRST} to {FIRST + COUNT - 1} of {host} is free")
