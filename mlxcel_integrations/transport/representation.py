"""Representation of objects: one line with the options that were given, and a table in notebooks.

Nothing here asks a server. The table of a server that has not started reads its model's window from
the header of a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..protocol.arguments import shown
from ..secret import redacted
from .connection import Connection
from .settings import GROUPS, ConnectionSettings

if TYPE_CHECKING:
    from .server import Server

__all__ = [
    "NOT_SHOWN",
    "connection_line",
    "connection_table",
    "described",
    "one_line",
    "table",
    "texts_hidden",
]

NOT_SHOWN = {"api_key", "default_headers"}
"""Options whose values are secrets."""

SERVER_NAMES = ("model", "base_url", "socket")
"""Options that name the server, which come first."""


def one_line(kind: str, options: Mapping[str, Any]) -> str:
    """Return the repr of an object.

    Args:
        kind: Name of its class.
        options: The options to show, with their values.
    """
    return redacted(f"{kind}({', '.join(f'{name}={shown(v)}' for name, v in options.items())})")


def table(kind: str, facts: Mapping[str, Any]) -> str:
    """Return the HTML that a notebook shows for an object.

    Args:
        kind: Name of its class.
        facts: What is known about it; what is None is left out.
    """
    # Only notebooks need it.
    from html import escape

    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(redacted(str(value)))}</td></tr>"
        for name, value in facts.items()
        if value is not None
    )
    return f"<table><caption>{escape(kind)}</caption>{rows}</table>"


def connection_line(kind: str, connection: Connection | None) -> str:
    """Return the repr of a client, without options if it has no connection.

    Args:
        kind: Name of its class.
        connection: The connection to its server.
    """
    options = described(connection, _given(connection)) if connection is not None else {}
    return one_line(kind, options)


def _given(connection: Connection) -> dict[str, Any]:
    """Return the options of a connection that differ from their defaults, but no secrets."""
    settings, usual = connection.settings, ConnectionSettings()
    groups: list[tuple[Any, Any]] = [
        (settings, usual),
        (settings.timeouts, usual.timeouts),
        (settings.tls, usual.tls),
    ]
    own = {
        name: value
        for group, defaults in groups
        for name, value, usual_value in zip(group._fields, group, defaults, strict=True)
        if name not in NOT_SHOWN | {*GROUPS} and value != usual_value
    }
    server = {name: value for name, value in settings.server_options.items() if value is not None}
    return own | server


def texts_hidden(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return further fields of requests with stars for all but numbers: any text may be a key."""
    return {
        name: value if isinstance(value, int | float | None) else "***"
        for name, value in fields.items()
    }


def described(connection: Connection, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with the server, even if a variable names it, and with its state.

    Args:
        connection: The connection to the server.
        options: The options that were given.
    """
    named = {name: options[name] for name in SERVER_NAMES if name in options} or _named(connection)
    state = {"server": connection.state} if connection.state is not None else {}
    return {**named, **options, **state}


def connection_table(kind: str, connection: Connection | None) -> str | None:
    """Return the HTML that a notebook shows for a model, None if it has no connection now.

    Args:
        kind: Name of its class.
        connection: The connection to its server.
    """
    if connection is None:
        return None
    state, features = connection.state, connection.features
    facts: dict[str, Any] = {
        "Server": state or connection.address,
        "Model": connection.model_to_start or _named(connection).get("model") or connection.model,
    }
    if features is not None:
        size = features.context_size
        facts["Window"] = f"{size:,} tokens" if size is not None else None
        facts["Slots"] = features.slots
    elif state not in (None, "closed") and connection.server is not None:
        options = connection.settings.server_options
        facts["Window"] = _window_before_start(connection.server, options.get("ctx_size"))
        facts["Slots"] = options.get("parallel")
    if state == "stopped":
        facts["Server"] = "stopped: starts with the first request"
    return table(kind, facts)


def _named(connection: Connection) -> dict[str, str]:
    """Return the option that names the server, even if an environment variable has set it."""
    lease = connection.lease
    if lease is None:
        return {"base_url": str(connection.endpoint)}
    return {"model": lease.server.model} if lease.alive else {}


def _window_before_start(server: Server, ctx_size: int | None) -> str | None:
    """Return the window of a server that has not started, from options or files."""
    if ctx_size:
        return f"{ctx_size:,} tokens for all slots"
    trained = server.trained_context
    return f"up to {trained.size:,} tokens" if trained is not None else None
