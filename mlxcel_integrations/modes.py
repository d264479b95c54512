"""Managed or connect mode: from the arguments of a client to a ``Connection``."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from .errors import MlxcelError, check_program_goes_on
from .transport.connection import Connection, checked_key
from .transport.endpoint import Endpoint, absolute_model
from .transport.settings import ConnectionSettings
from .transport.tls import TLS

if TYPE_CHECKING:
    from .transport.server import ServerLease

__all__ = [
    "Mode",
    "check_transport",
    "connect",
    "embedding_settings",
    "resolve_mode",
    "split_timeout",
]


class Mode(NamedTuple):
    """Whether to start a server or to connect to one: exactly one attribute is set.

    Attributes:
        model: The model to start a server with.
        endpoint: The running server.
    """

    model: str | None = None
    endpoint: Endpoint | None = None


def check_transport(transport: object, kind: type, client: str) -> None:
    """Check the class of the user's own transport; None passes.

    Args:
        transport: The transport.
        kind: The class of httpx that it must have.
        client: Name of the class that takes it.

    Raises:
        MlxcelError: It has another class.
    """
    if not isinstance(transport, kind | None):
        raise MlxcelError(
            f"transport= must be an httpx.{kind.__name__} for {client}, not "
            f"{type(transport).__name__}."
        )


def connect(
    settings: ConnectionSettings,
    *,
    transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
    known: ServerLease | None = None,
) -> Connection:
    """Return a connection; nothing is started or sent yet.

    Args:
        settings: What the user has set.
        transport: The user's own transport, which carries the requests, so that no address is
            needed.
        known: The lease of the managed server that the settings name, if there is one already.

    Raises:
        MlxcelError: The settings contradict each other, name no server, or have an unknown option.
    """
    check_program_goes_on()
    base_url = settings.base_url
    if transport is not None and settings.model is not None:
        raise MlxcelError(
            "Both model= and transport= are given, but a server that is started here is reached "
            "directly. Drop transport=, or drop model= to use the server behind the transport."
        )
    if transport is not None and (settings.model, base_url, settings.socket) == (None, None, None):
        base_url = "http://localhost"
    mode = resolve_mode(settings.model, base_url, settings.socket)
    options = {n: value for n, value in settings.server_options.items() if value is not None}
    if mode.endpoint is not None:
        if options:
            raise _only_managed(options, mode.endpoint)
        return Connection(settings, _with_tls(mode.endpoint, settings.tls), None)
    beside = embedding_settings(settings)
    if beside is not None:
        # The first server does not know the second one.
        options.pop("embedding_model", None)
    embedder = _managed(beside, beside.server_options) if beside is not None else None
    return _managed(settings, options, known, embedder)


def _managed(
    settings: ConnectionSettings,
    options: Mapping[str, Any],
    known: ServerLease | None = None,
    embedder: Connection | None = None,
) -> Connection:
    """Return the connection to a server of our own; nothing is started yet."""
    # Imported here since a program that only connects needs no supervisor.
    from .supervisor.leases import lease

    if known is None or not known.alive:
        model = resolve_mode(settings.model, settings.base_url, settings.socket).model
        key = checked_key(settings.api_key)
        known = lease(model or "", socket=settings.socket, api_key=key, **options)
    return Connection(settings, None, known, embedder)


def embedding_settings(settings: ConnectionSettings) -> ConnectionSettings | None:
    """Return the settings of a second server that embeds; None if the first one does.

    The embedded engine serves one model at a time, and mlxcel cannot serve those of the engine.

    Raises:
        MlxcelError: The settings contradict each other, name no server, or name a model for
            embeddings that was not made for them.
    """
    model = resolve_mode(settings.model, settings.base_url, settings.socket).model
    options = settings.server_options
    wanted = options.get("embedding_model")
    if model is None or (wanted is None and options.get("binary") is not None):
        return None
    if not isinstance(wanted, str | None):
        # The error about it comes from the options of the server.
        return None
    # Imported here since a program that only connects needs no engine.
    from .embedded import embedder_beside

    embedder = embedder_beside(model, absolute_model(wanted) if wanted else None)
    if embedder is None:
        return None
    from .options.fields import LIFECYCLE_FIELDS

    kept = {"share", *LIFECYCLE_FIELDS} & options.keys()
    return settings._replace(
        model=embedder,
        socket=None,
        served_model=None,
        server_options={name: options[name] for name in kept},
    )


def resolve_mode(
    model: str | os.PathLike[str] | None,
    base_url: str | None,
    socket: str | os.PathLike[str] | None,
    environ: Mapping[str, str] = os.environ,
) -> Mode:
    """Choose between managed and connect mode.

    Args:
        model: A model to start a server with; ``socket`` is then the path to bind.
        base_url: Address of a running server.
        socket: Unix socket of a running server.
        environ: Environment with ``MLXCEL_BASE_URL``, ``MLXCEL_SOCKET`` and ``MLXCEL_MODEL``, which
            are looked up in this order if none of the three is given.

    Raises:
        MlxcelError: Too much is given, or too little.
    """
    if model is not None and base_url is not None:
        raise MlxcelError(
            f"Both model={os.fspath(model)!r} and base_url={base_url!r} are given. Drop base_url= "
            "to start a server with that model, or drop model= to use the running server; "
            "served_model= picks one of its models."
        )
    if base_url is not None and socket is not None:
        raise MlxcelError(
            f"Both base_url={base_url!r} and socket={os.fspath(socket)!r} are given. Drop the one "
            "that the server does not listen on."
        )
    if model is not None:
        return Mode(model=absolute_model(model))
    if base_url is not None or socket is not None:
        return Mode(endpoint=Endpoint.parse(base_url, socket))
    if environ.get("MLXCEL_BASE_URL"):
        return Mode(endpoint=Endpoint.parse(environ["MLXCEL_BASE_URL"], None))
    if environ.get("MLXCEL_SOCKET"):
        return Mode(endpoint=Endpoint.parse(None, environ["MLXCEL_SOCKET"]))
    if environ.get("MLXCEL_MODEL"):
        return Mode(model=absolute_model(environ["MLXCEL_MODEL"]))
    raise MlxcelError(
        "Neither a model nor a server is given. Pass model= to start a server (a repository id, a "
        'directory, a .gguf file, or "embedded" for a small built-in model), base_url= or socket= '
        "to use a running one, or set MLXCEL_MODEL, MLXCEL_BASE_URL or MLXCEL_SOCKET."
    )


def _only_managed(options: Mapping[str, object], endpoint: Endpoint) -> MlxcelError:
    """Return the error for options of a managed server in connect mode."""
    from .options.names import server_options

    try:
        server_options(dict(options))
    except MlxcelError as unknown_or_wrong:
        return unknown_or_wrong
    names = ", ".join(f"{name}=" for name in sorted(options))
    return MlxcelError(
        f"{names} can only be set for a server that is started here. Pass model= to start one, or "
        f"drop {names} to use {endpoint}."
    )


def _with_tls(endpoint: Endpoint, tls: TLS) -> Endpoint:
    """Return an address, with the TLS options if it begins with ``https``.

    Raises:
        MlxcelError: The options name a file that does not exist.
    """
    if not endpoint.is_secure:
        return endpoint
    tls.check()
    return endpoint._replace(tls=tls)


def split_timeout(options: dict[str, Any]) -> dict[str, Any]:
    """Return options with an ``httpx.Timeout`` replaced by the two limits of it that apply.

    Its ``connect`` counts only if ``connect_timeout`` is not set.
    """
    given = options.get("timeout")
    if not isinstance(given, httpx.Timeout):
        return options
    silence, connecting = (
        math.inf if limit is None else limit for limit in (given.read, given.connect)
    )
    return {"connect_timeout": connecting, **options, "timeout": silence}
