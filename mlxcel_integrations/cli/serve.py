"""Command ``mlxcel-integrations serve``: a server for other programs, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import shlex

from ..embedded import BUILT_IN_MODEL, embedder_beside
from ..errors import MlxcelServerError
from ..supervisor.managed_server import ManagedServer
from .engine import describe_executable, start_server
from .parser import UsageError
from .terminal import Terminal

__all__ = ["run_serve"]

_DEFAULT_PORT = 8080
"""Where mlxcel itself listens, and this package's pages expect a server."""


def run_serve(
    out: Terminal,
    log: Terminal,
    model: str | None = None,
    *,
    socket: str | None = None,
    host: str | None = None,
    port: int | None = None,
    ctx_size: int | None = None,
    embedding_model: str | None = None,
) -> int:
    """Start a server, print its address, and wait until it ends or the user presses Ctrl-C.

    Args:
        out: Where to print the address.
        log: Where to print everything else.
        model: The model; ``MLXCEL_MODEL`` or the built-in one if not given.
        socket: Path of a Unix socket to listen on.
        host: Host to listen on, this machine if not given.
        port: Port to listen on, 8080 if not given.
        ctx_size: Context of all slots together, in tokens.
        embedding_model: A second model, for embeddings.

    Returns:
        The exit status.

    Raises:
        MlxcelError: The server did not start, or has ended by itself.
        UsageError: The model for embeddings needs a separate server.
    """
    model = model or os.environ.get("MLXCEL_MODEL") or BUILT_IN_MODEL
    if embedding_model is not None and (beside := embedder_beside(model, embedding_model)):
        raise UsageError(
            f"--embedding-model {embedding_model} needs a separate server: leave it out, and "
            f"run in another terminal: mlxcel-integrations serve {shlex.quote(beside)} "
            f"--port {(port or _DEFAULT_PORT) + 1}"
        )
    server = ManagedServer(
        model,
        socket=socket,
        api_key=os.environ.get("MLXCEL_API_KEY") or None,
        progress=False,
        host=host,
        port=port if socket is not None else port or _DEFAULT_PORT,
        ctx_size=ctx_size,
        embedding_model=embedding_model,
    )
    log.fact("Engine", describe_executable(server.executable))
    log.fact("Model", server.model)
    with contextlib.closing(server):
        try:
            start_server(log, server)
            out.line(server.base_url)
            if server.socket is None:
                log.fact("OpenAI", f"{server.base_url}/v1 for clients of OpenAI")
            log.line("Press Ctrl-C to stop.")
            server.wait()
        except KeyboardInterrupt:
            log.line("\nStopped.")
            return 0
        raise MlxcelServerError(f"{server.end()}\n{server.log_tail}".rstrip())
