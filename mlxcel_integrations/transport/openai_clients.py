"""The ``openai`` clients for a server, sockets included.

Imported only when one is used, since importing ``openai`` takes most of a second.
"""

from __future__ import annotations

import importlib
from typing import Any

import httpx
import openai

from ..secret import NotPicklable
from .connection import Connection
from .endpoint import Endpoint
from .lent_transport import lent_async_transport, lent_transport
from .peers import proving_peers

__all__ = ["async_client", "sync_client"]


class _Client(NotPicklable, openai.OpenAI):
    pass


class _AsyncClient(NotPicklable, openai.AsyncOpenAI):
    pass


def sync_client(
    connection: Connection, transport: httpx.BaseTransport | None = None
) -> openai.OpenAI:
    """Return an ``openai.OpenAI`` for the server of a connection.

    Args:
        connection: The server.
        transport: Transport of the user that carries the requests, None to connect.
    """
    endpoint = connection.endpoint
    options = _http_options(connection, "HTTPTransport")
    if transport is not None:
        options["transport"] = lent_transport(transport, _library())
    http_client = openai.DefaultHttpxClient(**options)
    return _Client(http_client=http_client, **_options(connection, endpoint))


def async_client(
    connection: Connection, transport: httpx.AsyncBaseTransport | None = None
) -> openai.AsyncOpenAI:
    """Return an ``openai.AsyncOpenAI`` for one event loop; see ``sync_client``."""
    endpoint = connection.endpoint
    options = _http_options(connection, "AsyncHTTPTransport")
    if transport is not None:
        options["transport"] = lent_async_transport(transport, _library())
    http_client = openai.DefaultAsyncHttpxClient(**options)
    return _AsyncClient(http_client=http_client, **_options(connection, endpoint))


def _options(connection: Connection, endpoint: Endpoint) -> dict[str, Any]:
    return {
        "base_url": endpoint.url + "/v1",
        # The client insists on a key; a server that has none ignores it.
        "api_key": connection.api_key.reveal() if connection.api_key else "none",
        # Its retries would also repeat generations that may have begun.
        "max_retries": 0,
        "default_headers": connection.own_headers(),
    }


def _library() -> Any:
    """Return the library that ``openai`` is built on: neither takes the other's transports."""
    return importlib.import_module(
        "httpx" if int(openai.__version__.split(".")[0]) < 3 else "httpx2"
    )


def _http_options(connection: Connection, transport_class: str) -> dict[str, Any]:
    library = _library()
    options: dict[str, Any] = {
        "timeout": library.Timeout(connection.timeouts.read, connect=connection.timeouts.connect),
        "follow_redirects": False,
    }
    endpoint = connection.endpoint
    if endpoint.is_local:
        # An explicit transport keeps the proxies of the environment out.
        options["trust_env"] = False
        # No idle connections: nothing would close them when the event loop ends.
        transport = getattr(library, transport_class)(
            verify=endpoint.verify,
            uds=endpoint.socket,
            limits=library.Limits(max_keepalive_connections=0),
        )
        options["transport"] = proving_peers(transport, connection.lease)
    elif endpoint.is_secure:
        options["verify"] = endpoint.verify
    return options
