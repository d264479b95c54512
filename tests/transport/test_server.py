"""What the transport uses of a managed server, the classes of the supervisor have."""

from __future__ import annotations

import pytest

from mlxcel_integrations import ManagedServer
from mlxcel_integrations.supervisor.leases import Lease
from mlxcel_integrations.transport.server import Server, ServerLease


@pytest.mark.parametrize(("protocol", "kind"), [(Server, ManagedServer), (ServerLease, Lease)])
def test_a_class_of_the_supervisor_has_what_the_transport_uses(protocol: type, kind: type) -> None:
    used = {name for name in vars(protocol) if not name.startswith("_")}

    assert {"model", "start"} <= used or {"server", "release"} <= used
    assert set() == used - {*dir(kind)} - {*kind.__annotations__}
