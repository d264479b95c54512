"""A specification says what a server is to be, before anything of this machine is looked at."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations.supervisor.server_spec import ServerSpec


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, False),
        ({"socket": "/tmp/x.sock"}, False),
        ({"host": "127.0.0.1"}, True),
        ({"port": 8080}, False),
        ({"host": "127.0.0.1", "port": 8080}, False),
    ],
)
def test_a_host_without_a_port_takes_any_free_port(options: dict[str, Any], expected: bool) -> None:
    spec = ServerSpec.of("m", options.pop("socket", None), None, options)

    assert expected == spec.takes_free_port


def test_the_grace_is_a_time_that_the_system_can_wait() -> None:
    assert 1e8 == ServerSpec.of("m", None, None, {"shutdown_grace": float("inf")}).grace
