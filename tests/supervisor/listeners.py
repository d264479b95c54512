"""Small programs that listen somewhere, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlxcel_integrations.supervisor.guard import DIRECTORY_VARIABLE

PROGRAM = """
import os, socket, sys
host, port, user = sys.argv[1:]
if host.startswith("/"):
    server = socket.socket(socket.AF_UNIX)
    server.bind(host)
else:
    server = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if host == "::":
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind((host, int(port)))
    port = server.getsockname()[1]
server.listen()
os.setuid(int(user))
print(os.getpid(), port, flush=True)
connections = []
while True:
    connections.append(server.accept())
"""


@dataclass
class Listener:
    """A process that accepts connections and says nothing.

    Attributes:
        leader: The process that was started.
        pid: The process that listens; another one if there is a wrapper around it.
        port: Where it listens, for TCP.
    """

    leader: int
    pid: int
    port: int

    def kill(self) -> None:
        for pid in {self.leader, self.pid}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def listener(
    host: Path | str,
    port: int = 0,
    *,
    around: str = "exec {}",
    group: int | None = 0,
    guard_directory: Path | None = None,
    user: int | None = None,
) -> Iterator[Listener]:
    """Listen on the path of a socket, or at an address.

    Args:
        host: A path, or an address for TCP.
        port: 0 takes a free one.
        around: Shell line that runs the program in place of the braces.
        group: As for `Popen`: 0 makes a new process group.
        guard_directory: The directory of the guard that is said to have started it.
        user: The user that it becomes when it listens; None keeps this one.
    """
    marks = {DIRECTORY_VARIABLE: str(guard_directory)} if guard_directory else {}
    program = [sys.executable, "-E", "-S", "-c", PROGRAM, str(host), str(port)]
    program.append(str(os.getuid() if user is None else user))
    with subprocess.Popen(
        ["/bin/sh", "-c", around.format(shlex.join(program))],
        stdout=subprocess.PIPE,
        text=True,
        process_group=group,
        env={**os.environ, **marks},
    ) as process:
        started = Listener(process.pid, process.pid, port)
        try:
            assert process.stdout is not None
            started.pid, started.port = map(int, process.stdout.readline().split())
            yield started
        finally:
            started.kill()


def leave_socket(path: Path) -> None:
    """Leave a socket behind on which nobody listens."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
