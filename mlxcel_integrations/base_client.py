"""``BaseClient``: the constructor of both clients, and what needs no request."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Never, Self, Unpack

import httpx

from .modes import check_transport, connect, split_timeout
from .protocol.arguments import check_unnamed
from .protocol.vectors.vector_models import VectorMemory
from .secret import with_hidden_key
from .transport.connection import Connection
from .transport.representation import connection_line, connection_table
from .transport.settings import ConnectionSettings

if TYPE_CHECKING:
    from .keywords import ClientKeywords

__all__ = ["BaseClient"]


class BaseClient:
    """Base class of ``LLM`` and ``AsyncLLM``: the constructor, and what needs no request."""

    _transport_class: type[httpx.BaseTransport | httpx.AsyncBaseTransport]

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *unnamed: Never,
        transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
        **options: Unpack[ClientKeywords],
    ) -> None:
        check_unnamed(unnamed, type(self).__name__)
        # A traceback with locals shows the arguments of a function, which must not be secrets.
        given, options = with_hidden_key({**options, "model": model}), {}
        check_transport(transport, self._transport_class, type(self).__name__)
        settings = ConnectionSettings.of(split_timeout(given))
        self._use(connect(settings, transport=transport), transport)

    @classmethod
    def _sharing(cls, connection: Connection) -> Self:
        """Return a client that shares a connection with others."""
        self = cls.__new__(cls)
        self._use(connection, None)
        return self

    def _use(self, connection: Connection, transport: Any) -> None:
        self._connection = connection
        self._transport = transport

    @property
    def _vectors(self) -> VectorMemory:
        """What is known about embeddings, on the server that makes them."""
        return self._connection.embedding.vectors

    @property
    def counting_route(self) -> str | None:
        """The route by which messages are counted, None before the first count."""
        return self._connection.tokens.route

    def __repr__(self) -> str:
        # A traceback of a failed constructor shows an object without a connection.
        return connection_line(type(self).__name__, self.__dict__.get("_connection"))

    def _repr_html_(self) -> str | None:
        return connection_table(type(self).__name__, self.__dict__.get("_connection"))
