"""Steps of exchanges done by a script instead of a driver: nothing waits, and nothing is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any, TypeVar

import httpx

from mlxcel_integrations.modes import connect
from mlxcel_integrations.protocol.timeouts import Deadline, Timeouts
from mlxcel_integrations.transport.connection import Connection
from mlxcel_integrations.transport.settings import ConnectionSettings
from mlxcel_integrations.transport.steps import Close, Incoming, Next, Send, Sleep, Step, Steps

T = TypeVar("T")


def connection(**options: Any) -> Connection:
    """Return a connection that nothing is sent over."""
    return connect(ConnectionSettings.of({"base_url": "http://localhost:1", **options}))


def managed(*, alive: bool = True, **known: Any) -> Connection:
    """Return the connection to a managed server of which this is known."""
    server = SimpleNamespace(model="m", endpoint=connection().endpoint, **known)
    lease: Any = SimpleNamespace(server=server, alive=alive)
    return Connection(ConnectionSettings(model="m"), None, lease)


def incoming(*pieces: bytes | Exception, status: int = 200, **headers: str) -> Incoming:
    """Return a response whose body arrives in pieces, or breaks off with an error."""
    response = httpx.Response(
        status, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    return Incoming(response, None, iter(pieces), Deadline(Timeouts(), 0.0))


class Script:
    """Does steps: answers each request with the next response or error.

    Attributes:
        done: The names of the steps that were done.
        slept: Seconds of all pauses.
    """

    def __init__(self, *answers: Incoming | Exception) -> None:
        self._answers: Iterator[Incoming | Exception] = iter(answers)
        self.done: list[str] = []
        self.slept: list[float] = []

    def run(self, steps: Steps[T]) -> T:
        """Do steps to their end, and return the result."""
        result: Any = None
        error: Exception | None = None
        while True:
            try:
                step = steps.send(result) if error is None else steps.throw(error)
            except StopIteration as end:
                value: T = end.value
                return value
            result, error = None, None
            try:
                result = self._do(step)
            except Exception as raised:  # noqa: BLE001 - the generator decides
                error = raised

    def _do(self, step: Step) -> Any:
        self.done.append(type(step).__name__)
        match step:
            case Send():
                return raised_if_error(next(self._answers))
            case Next(response):
                return raised_if_error(next(response.pieces, None))
            case Sleep(seconds):
                self.slept.append(seconds)
            case Close():
                pass
            case _:
                raise AssertionError(f"unexpected: {step}")
        return None


def raised_if_error(value: T | Exception) -> T:
    """Return a value, or raise it if it is an error."""
    if isinstance(value, Exception):
        raise value
    return value


def events(texts: Iterable[str]) -> bytes:
    """Return server-sent events with these data."""
    return b"".join(f"data: {text}\n\n".encode() for text in texts)
