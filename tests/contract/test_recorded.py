"""What was recorded of a real mlxcel 0.4.2 holds for the scripted server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.fakes.server import FakeServer

from . import recorded
from .outcomes import outcome, short
from .recorded import Row
from .servers import Server

ROWS = list(recorded.rows())
DEFAULT = "mlxcel serve -m models/scripted --host 127.0.0.1 --port <port> --n-parallel 2"


@pytest.fixture(scope="module")
def started() -> Iterator[Callable[[str], FakeServer]]:
    """Starts a server for each set of flags that rows name."""
    with ExitStack() as stack:
        servers: dict[str, FakeServer] = {}

        def start(flags: str) -> FakeServer:
            if flags not in servers:
                servers[flags] = stack.enter_context(recorded.serving(flags))
            return servers[flags]

        yield start


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.group}/{row.name}")
def test_the_scripted_server_answers_as_recorded(
    row: Row, started: Callable[[str], FakeServer]
) -> None:
    told = row.outcome
    actual = [short(line) for line in recorded.send(started(row.flags), row.request)]

    if recorded.held_to_a_schema(row.request):
        told, actual = map(recorded.without_json, (told, actual))
    elif row.request["path"] == "/detokenize":  # what ids mean is another vocabulary's
        told, actual = told[:1], actual[:1]
    assert told == actual


REFUSED = [row for row in ROWS if row.flags == DEFAULT and row.outcome[0][0] == "4"]


@pytest.mark.mlxcel
@pytest.mark.parametrize("row", REFUSED, ids=lambda row: f"{row.group}/{row.name}")
def test_a_real_server_refuses_as_recorded(row: Row, running: Callable[[str], Server]) -> None:
    """Whatever its model is."""
    server = running("mlxcel")
    if server.dialect != "v0.4.2":
        pytest.skip("another generation")

    response = send(server.http, row)

    kind = response.headers.get("content-type")
    assert row.outcome[0] == outcome(response.status_code, kind, response.text)[0]


def send(http: httpx.Client, row: Row) -> httpx.Response:
    headers = {"content-type": "application/json", **(row.request.get("headers") or {})}
    given = {name: value for name, value in headers.items() if value is not None}
    content = recorded.body_bytes(row.request)
    return http.request(row.request["method"], row.request["path"], content=content, headers=given)
