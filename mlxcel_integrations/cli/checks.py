"""Checks of an engine, which start no server and load no model."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ..client import LLM
from ..embedded import BUILT_IN_MODEL, is_embedded
from ..embedded.gguf import read_metadata
from ..embedded.model import locate_model
from ..errors import MlxcelError
from ..options.names import server_options
from ..protocol.discovery import choose_model
from ..supervisor.binary import EMBEDDED, Executable, find_mlxcel
from ..supervisor.bind_address import choose_bind_address
from ..supervisor.guard import remove_socket
from ..supervisor.local_models import LocalModel, list_local_models, output_of
from ..supervisor.managed_server import ManagedServer
from ..supervisor.model_names import suggestion
from ..supervisor.model_store import DEFAULT_OWNER
from ..transport.endpoint import Endpoint
from ..unix_sockets import MAX_SOCKET_PATH_BYTES
from .ask.files import path_of
from .engine import describe_executable
from .installation import Finding
from .models import describe_model

__all__ = ["check_managed_server", "check_running_server"]

_VERSION_TIMEOUT = 10.0
_SERVER_TIMEOUT = 5.0


def check_managed_server(model: str) -> Iterator[Finding]:
    """Check that a server for a model could be started, and list those that mlxcel has."""
    yield _check_executable(model)
    models, reason = _local_models()
    yield _check_model(model, models)
    yield _check_socket_directory()
    for known in models:
        yield Finding("ok", "downloaded", f"{known.name} ({describe_model(known)})")
    if reason:
        yield Finding("ok", "downloaded", f"unknown: {reason}")


def _local_models() -> tuple[list[LocalModel], str]:
    """Return the models that mlxcel has on this machine, and the reason if they are unknown."""
    try:
        mlxcel = find_mlxcel()
        return (list_local_models(mlxcel) if mlxcel is not None else []), ""
    except MlxcelError as error:
        return [], str(error)


def _check_executable(model: str) -> Finding:
    try:
        executable = ManagedServer(model).executable
    except MlxcelError as error:
        return Finding("problem", "executable", "not found", str(error))
    if executable.dialect is EMBEDDED:
        return Finding("ok", "executable", describe_executable(executable))
    return _check_version(executable)


def _check_version(executable: Executable) -> Finding:
    text = describe_executable(executable)
    try:
        command = [*executable.command, "--version"]
        output = output_of(command, _VERSION_TIMEOUT, subprocess.STDOUT)
    except (OSError, ValueError) as error:
        advice = f"It does not run: {str(error).rstrip('.')}. Install it again."
        return Finding("problem", "executable", text, advice)
    printed = output.decode("utf-8", "replace").splitlines() or ["unknown version"]
    return Finding("ok", "executable", f"{printed[0].strip()}, {text}")


def _check_model(model: str, models: list[LocalModel]) -> Finding:
    if is_embedded(model):
        return _check_gguf(model)
    names = (model, f"{DEFAULT_OWNER}/{model}")
    known = next((known for known in models if known.name in names), None)
    if known is not None:
        return Finding("ok", "model", f"{model} (on this machine: {describe_model(known)})")
    if path_of(model).exists():
        return Finding("ok", "model", model)
    similar = suggestion(model, [known.name for known in models])
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model):
        text = f"{model} (a repository, downloaded on first use)"
        return Finding("ok", "model", text, similar)
    advice = (
        "Pass an existing file or directory, a repository as OWNER/NAME, or "
        '"embedded" for the small built-in model.'
    )
    advice = f"{similar} {advice}".strip()
    return Finding("problem", "model", f"{model!r} does not exist", advice)


def _check_gguf(model: str) -> Finding:
    """Check a model of the embedded engine; the built-in one is unpacked if need be."""
    try:
        path = locate_model(model)
        read_metadata(path)
    except MlxcelError as error:
        return Finding("problem", "model", model, str(error))
    return Finding("ok", "model", f"{model} ({path})" if model == BUILT_IN_MODEL else model)


def _check_socket_directory() -> Finding:
    """Bind a socket where a server would: some file systems do not support sockets."""
    try:
        place = choose_bind_address(server_options({}), None)
    except MlxcelError as error:
        return Finding("problem", "socket", "no directory to bind it in", str(error))
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
        remove_socket(path, directory)
    length = f"{len(os.fsencode(path))} of {MAX_SOCKET_PATH_BYTES} bytes"
    text = f"can be bound in {directory.parent} (mode {mode:04o}, path of {length})"
    return Finding("ok", "socket", text)


def check_running_server(endpoint: Endpoint) -> Iterator[Finding]:
    """Check that a server answers, and describe it."""
    import openai

    try:
        with LLM(base_url=str(endpoint), timeout=_SERVER_TIMEOUT, max_retries=0) as llm:
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
