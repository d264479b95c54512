"""The connection of an adapter, and the clients that share it."""

from __future__ import annotations

from mlxcel_integrations.adapters.clients import HasClients
from mlxcel_integrations.modes import connect
from mlxcel_integrations.transport.connection import Connection
from mlxcel_integrations.transport.settings import ConnectionSettings


class Adapter(HasClients):
    """An adapter that counts its connections."""

    made = 0

    def _connect(self, lease: object = None) -> Connection:
        self.made += 1
        return connect(ConnectionSettings.of({"base_url": "http://localhost:1"}))


def test_both_clients_share_the_connection_which_is_made_once() -> None:
    adapter = Adapter()

    assert adapter._llm._connection is adapter._async_llm._connection is adapter._connection
    assert 1 == adapter.made


def test_after_a_connection_is_dropped_the_next_use_makes_another_for_both() -> None:
    adapter = Adapter()
    first = adapter._llm._connection
    adapter._drop_connection()

    assert first is not adapter._async_llm._connection
    assert adapter._llm._connection is adapter._async_llm._connection
    assert 2 == adapter.made


def test_a_connection_that_is_given_is_used_by_both() -> None:
    adapter, other = Adapter(), Adapter()
    adapter._use_connection(other._connection)

    assert adapter._llm._connection is adapter._async_llm._connection is other._connection
    assert 0 == adapter.made
