"""Calls of flows: their methods, and the statuses that a flow expects."""

from __future__ import annotations

from mlxcel_integrations.protocol.flow import MISSING_ROUTE_STATUSES, REJECTED_STATUSES, Call


def test_a_call_with_a_body_is_a_post() -> None:
    assert "GET" == Call("/props").method
    assert "POST" == Call("/tokenize", {}).method


def test_a_call_expects_that_the_route_may_be_missing() -> None:
    assert MISSING_ROUTE_STATUSES == Call("/props").expected
    assert REJECTED_STATUSES > MISSING_ROUTE_STATUSES
