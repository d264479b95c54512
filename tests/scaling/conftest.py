"""Servers, certificates, and the balancers before them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from tests.fakes.server import FakeServer
from tests.scaling.balancers import Balancer, Haproxy, Nginx, missing

KINDS = {"haproxy": Haproxy, "nginx": Nginx}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs programs, or rights, that are not here."""
    for item in items:
        if item.get_closest_marker("namespaces") and (why := _no_namespaces()):
            item.add_marker(pytest.mark.skip(reason=why))
        if item.get_closest_marker("balancer") and (why := missing("haproxy", "nginx")):
            item.add_marker(
                pytest.mark.skip(reason=f"{why}, as Debian's packages of these names have it")
            )


def _no_namespaces() -> str | None:
    if os.name != "posix" or os.geteuid() != 0:
        return "network namespaces need root"
    if why := missing("ip"):
        return why
    from tests.scaling.hosts import can_make_namespaces

    return None if can_make_namespaces() else "network namespaces are not allowed here"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MLXCEL_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path that other users may enter: nginx works as one of them."""
    path = Path(tempfile.mkdtemp(prefix="mlxcel-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def servers() -> Iterator[Callable[[int], list[FakeServer]]]:
    """Makes servers; each is stopped in the end."""
    with ExitStack() as stack:
        yield lambda count: [stack.enter_context(FakeServer()) for _ in range(count)]


@pytest.fixture
def balance(folder: Path) -> Iterator[Callable[..., Balancer]]:
    """Starts a balancer of some kind before servers."""
    with ExitStack() as stack:

        def start(kind: str, servers: list[FakeServer], **options: object) -> Balancer:
            addresses = [f"127.0.0.1:{server.port}" for server in servers]
            return stack.enter_context(KINDS[kind](folder, addresses, **options))  # type: ignore[arg-type]  # passed on

        yield start
