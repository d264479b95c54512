"""Whether an engine could answer a chat: nothing is started, and no model is loaded."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ..client import LLM
from ..embedded import is_embedded
from ..embedded.gguf import read
from ..embedded.model import locate
from ..errors import MlxcelError
from ..options import server_options
from ..protocol.features import choose_model
from ..supervisor.binary import EMBEDDED, Executable
from ..supervisor.bind_address import choose
from ..supervisor.command import environment
from ..supervisor.guard import clear
from ..supervisor.managed_server import ManagedServer
from ..supervisor.runtime import MAX_SOCKET_PATH_BYTES
from ..transport.endpoint import Endpoint
from .engine import describe
from .installation import Finding

__all__ = ["managed_server", "running_server"]

_VERSION_SECONDS = 10.0
_SILENCE_SECONDS = 5.0


def managed_server(model: str) -> Iterator[Finding]:
    """Check what it takes to start a server for a model."""
    yield _executable(model)
    yield _model(model)
    yield _socket_directory()


def _executable(model: str) -> Finding:
    try:
        executable = ManagedServer(model).executable
    except MlxcelError as error:
        return Finding("problem", "executable", "not found", str(error))
    if executable.dialect is EMBEDDED:
        return Finding("ok", "executable", describe(executable))
    return _version(executable)


def _version(executable: Executable) -> Finding:
    text = describe(executable)
    try:
        done = subprocess.run(
            [*executable.command, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(os.environ, None),
            timeout=_VERSION_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        advice = f"It does not tell its version: {str(error).rstrip('.')}. Install it again."
        return Finding("problem", "executable", text, advice)
    said = next(iter(done.stdout.decode("utf-8", "replace").splitlines()), "no version")
    return Finding("ok", "executable", f"{said.strip()}, {text}")


def _model(model: str) -> Finding:
    if is_embedded(model):
        return _gguf(model)
    if Path(model).expanduser().exists():
        return Finding("ok", "model", model)
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model):
        return Finding("ok", "model", f"{model} (a repository; downloaded when it is first used)")
    advice = (
        "Name a file or directory that exists, a repository as OWNER/NAME, or "
        '"embedded" for a small built-in model.'
    )
    return Finding("problem", "model", f"{model!r} does not exist", advice)


def _gguf(model: str) -> Finding:
    """Check a model of the embedded engine; the built-in one is put together if need be."""
    try:
        path = locate(model)
        read(path)
    except MlxcelError as error:
        return Finding("problem", "model", model, str(error))
    return Finding("ok", "model", f"{model} ({path})" if model == "embedded" else model)


def _socket_directory() -> Finding:
    """Bind a socket where a server would, since some file systems have none."""
    try:
        place = choose(server_options({}), None)
    except MlxcelError as error:
        return Finding("problem", "socket", "no directory for it", str(error))
    path = str(place.endpoint.socket)
    directory = Path(path).parent
    try:
        directory.mkdir(0o700)
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(path)
        mode = stat.S_IMODE(directory.stat().st_mode)
    except OSError as error:
        advice = "Set TMPDIR to a directory on a local file system."
        return Finding("problem", "socket", f"{path}: {error}", advice)
    finally:
        clear(path, directory)
    size = f"{len(os.fsencode(path))} of {MAX_SOCKET_PATH_BYTES} bytes"
    text = f"{directory.parent} takes private directories (mode {mode:04o}, path of {size})"
    return Finding("ok", "socket", text)


def running_server(endpoint: Endpoint) -> Iterator[Finding]:
    """Check a server that is said to run."""
    import openai

    try:
        with LLM(base_url=str(endpoint), timeout=_SILENCE_SECONDS, max_retries=0) as llm:
            features = llm.features
        chosen = choose_model(features.models, str(endpoint))
    except (MlxcelError, openai.OpenAIError) as error:
        yield Finding("problem", "server", str(endpoint), str(error))
        return
    engine = " ".join(filter(None, (features.engine or "unknown engine", features.build)))
    yield Finding("ok", "server", f"{endpoint} ({engine})")
    others = [model.id for model in features.models if model.id != chosen]
    yield Finding("ok", "model", chosen + (f" (also: {', '.join(others)})" if others else ""))
    yield Finding(
        "ok",
        "context",
        f"{features.context_size or 'unknown'} tokens in each of "
        f"{features.slots or 'an unknown number of'} slots",
    )
