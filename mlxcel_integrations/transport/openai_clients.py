"""The ``openai`` clients for a server, sockets included.

Imported only when one is used, since importing ``openai`` takes most of a second.
"""

from __future__ import annotations

import importlib
from typing import Any

import openai

from ..secret import NotPicklable
from .connection import Connection
from .endpoint import Endpoint
from .peers import proving_peers

__all__ = ["async_client", "sync_client"]


class _Client(NotPicklable, openai.OpenAI):
    pass


class _AsyncClient(NotPicklable, openai.AsyncOpenAI):
    pass


def sync_client(connection: Connection) -> openai.OpenAI:
    """Return an ``openai.OpenAI`` for the server of a connection."""
    endpoint = connection.endpoint
    http_client = openai.DefaultHttpxClient(**_http_options(connection, "HTTPTransport"))
    return _Client(http_client=http_client, **_options(connection, endpoint))


def async_client(connection: Connection) -> openai.AsyncOpenAI:
    """Return an ``openai.AsyncOpenAI`` for the server of a connection, for one event loop."""
    endpoint = connection.endpoint
    http_client = openai.DefaultAsyncHttpxClient(**_http_options(connection, "AsyncHTTPTransport"))
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


def _http_options(connection: Connection, transport_class: str) -> dict[str, Any]:
    # openai 2 is built on httpx, openai 3 on httpx2, and neither takes the other's transports.
    library = importlib.import_module(
        "httpx" if int(openai.__version__.split(".")[0]) < 3 else "httpx2"
    )
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
