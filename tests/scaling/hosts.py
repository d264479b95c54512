"""Several hosts in one machine: network namespaces, each with its own address, on one bridge."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

__all__ = ["Host", "Network", "can_make_namespaces"]

SERVER = Path(__file__).resolve().parents[1] / "fakes" / "program.py"
PORT = 8080


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@functools.cache
def can_make_namespaces() -> bool:
    try:
        with Network(1):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


class Network:
    """Hosts on a bridge; this program is on it, too.

    Args:
        count: How many hosts there are.
    """

    def __init__(self, count: int) -> None:
        # Of this process alone, in the range that is set apart for tests of networks.
        self._prefix = f"mx{os.getpid()}"
        self._net = f"198.18.{os.getpid() % 254}"
        self._count = count

    def __enter__(self) -> Network:
        with ExitStack() as stack:
            bridge = f"{self._prefix}b"
            ip("link", "add", bridge, "type", "bridge")
            stack.callback(ip, "link", "del", bridge)
            ip("addr", "add", f"{self._net}.1/24", "dev", bridge)
            ip("link", "set", bridge, "up")
            self.hosts = [
                stack.enter_context(Host(f"{self._prefix}h{at}", f"{self._net}.{10 + at}", bridge))
                for at in range(self._count)
            ]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()


class Host:
    """A namespace with an address.

    Attributes:
        address: Its address.
        inside: What a command begins with that is to run there.
    """

    def __init__(self, name: str, address: str, bridge: str) -> None:
        self.name = name
        self.address = address
        self.inside = ["ip", "netns", "exec", name]
        self._bridge = bridge
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Host:
        with ExitStack() as stack:
            ip("netns", "add", self.name)
            stack.callback(ip, "netns", "del", self.name)
            ip("link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", self.name)
            ip("link", "set", self.name, "master", self._bridge, "up")
            for command in (
                f"addr add {self.address}/24 dev eth0",
                "link set eth0 up",
                "link set lo up",
            ):
                ip("-n", self.name, *command.split())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        self._stack.close()

    def serve(self, token_seconds: float) -> None:
        """Run a server here, and wait until it is ready."""
        command = [sys.executable, "-S", str(SERVER), "serve", "-m", "fake-model"]
        command += ["--host", self.address, "--port", str(PORT), "--n-parallel", "100"]
        environment = {**os.environ, "FAKE_TOKEN_SECONDS": str(token_seconds)}
        self._process = subprocess.Popen(
            [*self.inside, *command], env=environment, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 15
        while True:
            try:
                urllib.request.urlopen(f"http://{self.address}:{PORT}/health", timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < deadline
                assert self._process.poll() is None
                time.sleep(0.02)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the server a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """End the server, however it is, and wait for that."""
        if self._process is not None:
            for number in (signal.SIGCONT, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(number)
            self._process.wait(10)
            self._process = None

    def plug(self, state: str) -> None:
        """Pull the plug of its network, with "down", or put it in again, with "up"."""
        ip("link", "set", self.name, state)
