"""Models on this machine: those that mlxcel has downloaded."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MlxcelError
from ..protocol.features import TrainedContext
from ..protocol.validation import as_count, as_object, as_text
from .binary import MLXCEL, Executable
from .command import environment
from .model_context import directory_context

__all__ = ["LocalModel", "list_local_models", "output_of", "read_model_list"]

_LIST_SECONDS = 5.0
_MAX_OUTPUT_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that mlxcel has downloaded.

    Attributes:
        name: Its name, as ``model=`` takes it.
        path: Its directory.
        size: Size of its files in bytes, None if unknown.
        context: Its context window, None if unknown.
    """

    name: str
    path: str
    size: int | None
    context: TrainedContext | None


def list_local_models(executable: Executable, seconds: float = _LIST_SECONDS) -> list[LocalModel]:
    """Return the models that ``mlxcel list`` shows.

    Args:
        executable: The program that serves models.
        seconds: Longest time that it may take.

    Raises:
        MlxcelError: It shows no list.
    """
    if executable.dialect is not MLXCEL:
        raise MlxcelError(
            f"{executable.dialect.name} cannot list models: only mlxcel can. Set MLXCEL_BIN to it."
        )
    command = [*executable.command, "list", "--json"]
    try:
        return read_model_list(output_of(command, seconds))
    except (OSError, ValueError, RuntimeError) as error:
        raise MlxcelError(
            f"{' '.join(command)} shows no models: {error}. Run it in a terminal to see why."
        ) from None


def read_model_list(output: bytes) -> list[LocalModel]:
    """Read the output of ``mlxcel list --json``; entries without a name or a path are left out.

    Raises:
        ValueError: It is not a JSON list.
    """
    try:
        entries = json.loads(output)
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list):
        raise ValueError(f"it printed {output[:80]!r} instead of a list")
    return [model for entry in entries if (model := _read_entry(as_object(entry))) is not None]


def _read_entry(entry: Any) -> LocalModel | None:
    name, path = as_text(entry.get("repo_id")), as_text(entry.get("path"))
    if not name or not path:
        return None
    return LocalModel(name, path, as_count(entry.get("size_bytes")), directory_context(Path(path)))


def output_of(command: list[str], seconds: float, stderr: int = subprocess.DEVNULL) -> bytes:
    """Return the output of a command; a broken one may print any amount, or never end.

    Args:
        command: The program and its arguments.
        seconds: Longest time that it may take.
        stderr: Where its errors go, as for ``subprocess``.

    Raises:
        OSError: It cannot be run.
        ValueError: It failed, was too slow, or printed too much.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=environment(os.environ, None),
        # In its own group, so that whatever a script has started ends with it.
        start_new_session=True,
    )
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        _kill_group(process)

    timer = threading.Timer(seconds, expire)
    with process:
        try:
            timer.start()
            assert process.stdout is not None
            output = process.stdout.read(_MAX_OUTPUT_BYTES + 1)
            if len(output) > _MAX_OUTPUT_BYTES:
                raise ValueError(f"it printed more than {_MAX_OUTPUT_BYTES} bytes")
            status = process.wait()
        finally:
            timer.cancel()
            _kill_group(process)
    if expired.is_set():
        raise ValueError(f"it did not end within {seconds:g} s")
    if status != 0:
        raise ValueError(f"it ended with exit status {status}")
    return output


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
