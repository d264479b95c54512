"""The engine as a process, for the tests of this folder."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from mlxcel_integrations.embedded import command
from mlxcel_integrations.embedded.model import cache_directory


def start(*flags: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command(), "serve", *flags],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )


def run(*flags: str) -> tuple[int, str]:
    """Run a command line that must fail; return the exit status and what it said."""
    process = start(*flags)
    try:
        _, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
    return process.returncode, stderr


def cache_with_models(home: Path) -> Path:
    """Make a cache of this package that has the built-in models as soon as it is used.

    Args:
        home: What ``XDG_CACHE_HOME`` is to be.
    """
    cache = home / cache_directory().name
    cache.mkdir(parents=True)
    for file in cache_directory().iterdir():
        if file.is_file():
            (cache / file.name).symlink_to(file)
    return cache


@contextmanager
def serving(socket: Path, *flags: str, **variables: str) -> Iterator[httpx.Client]:
    process = start("--host", str(socket), "--port", "0", *flags, **variables)
    try:
        wait_until_ready(process)
        with client(socket) as http:
            yield http
    finally:
        process.terminate()
        process.communicate(timeout=10)


def client(socket: Path) -> httpx.Client:
    # The engine closes idle connections after 5 seconds, as httpx does by default: too late.
    transport = httpx.HTTPTransport(uds=str(socket), limits=httpx.Limits(keepalive_expiry=2))
    return httpx.Client(transport=transport, base_url="http://engine", timeout=600)


def wait_until_ready(process: subprocess.Popen[str]) -> list[str]:
    """Return what the engine has printed by the time it listens."""
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("Listening on "):
            return lines
    raise AssertionError(f"the engine did not start: {lines}")
