"""Connection of an adapter, and the clients that share it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..async_client import AsyncLLM
from ..client import LLM
from ..transport.connection import Connection

if TYPE_CHECKING:
    from ..transport.server import ServerLease

__all__ = ["HasClients"]


class HasClients:
    """The connection of an adapter, and the clients that share it.

    All three are set when the connection is made. Without one, the next use connects.
    """

    @cached_property
    def _derived(self) -> dict[str, dict[str, Any]]:
        """Values that each request needs, computed from the options alone.

        A change of an option sets a new dictionary: a thread that is still computing from the old
        options puts its value into the old dictionary.
        """
        return {}

    @cached_property
    def _connection(self) -> Connection:
        return self._connect()

    @cached_property
    def _llm(self) -> LLM:
        return LLM._sharing(self._connection)

    @cached_property
    def _async_llm(self) -> AsyncLLM:
        return AsyncLLM._sharing(self._connection)

    def _connect(self, lease: ServerLease | None = None) -> Connection:
        raise NotImplementedError

    def _use_connection(self, connection: Connection) -> None:
        self._connection = connection
        self._llm = LLM._sharing(connection)
        self._async_llm = AsyncLLM._sharing(connection)

    def _drop_connection(self) -> None:
        """Drop the connection; the next use makes a new one."""
        for name in ("_connection", "_llm", "_async_llm"):
            self.__dict__.pop(name, None)
