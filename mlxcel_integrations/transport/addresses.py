"""Addresses of a host, looked up within the limits of a request."""

from __future__ import annotations

import contextlib
import ipaddress
import math
import socket
import threading
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Imported with the first connection.
    from concurrent.futures import Future

__all__ = ["MIN_CONNECT_SECONDS", "look_up", "lookup_errors", "timed_attempts"]

MIN_CONNECT_SECONDS = 0.001
"""Shortest wait for a connection: with zero, it would fail at once."""

BRIEF_SECONDS = 1.0
"""First wait for a connection to one of several addresses; most take far less."""


def look_up(host: str, port: int) -> Future[list[str]]:
    """Return the future addresses of a host, in the order in which to try them.

    A name is looked up in a thread, since nothing ends the wait for a silent name server; nothing
    waits for the end of that thread, either. A host that needs no name server is looked up at once.

    Args:
        host: A name, or an address.
        port: The port to connect to.
    """
    from concurrent.futures import Future

    found: Future[list[str]] = Future()
    # From now on, those who wait for it may leave, but nobody can cancel it.
    found.set_running_or_notify_cancel()
    if _needs_name_server(host):
        try:
            threading.Thread(target=_resolve, args=(found, host, port), daemon=True).start()
            return found
        except RuntimeError:
            # There are too many threads, or Python is ending.
            pass
    _resolve(found, host, port)
    return found


@contextlib.contextmanager
def lookup_errors() -> Iterator[None]:
    """Raise the errors of a lookup, and the end of the wait for it, as those of httpcore."""
    import httpcore

    try:
        yield
    except TimeoutError:
        try:
            raise socket.gaierror(socket.EAI_AGAIN, "the name server is silent")
        except OSError as silent:
            # httpcore drops the causes of errors, and leaves their contexts.
            raise httpcore.ConnectTimeout(silent)  # noqa: B904
    except OSError as error:
        raise httpcore.ConnectError(error) from error


def timed_attempts(
    addresses: list[str], end: float | None, silent: Collection[str]
) -> Iterator[tuple[str, float | None]]:
    """Yield each address to try, and the seconds that a connection to it may take.

    The addresses share the time that is left; otherwise the first could take all of it. If there
    are several, each is tried briefly first, since the first may be silent where IPv6 leads
    nowhere. Those that were silent are then tried again for longer.

    Args:
        addresses: The addresses of one host.
        end: When the connection must have been made, on the monotonic clock; None for no limit.
        silent: The addresses that did not answer in time, to which the caller adds them.
    """
    if len(addresses) > 1:
        for left in range(len(addresses), 0, -1):
            seconds = min(_share(end, 2 * left + len(silent)), BRIEF_SECONDS)
            yield addresses[-left], seconds
        addresses = list(silent)
    for left in range(len(addresses), 0, -1):
        seconds = _share(end, left)
        yield addresses[-left], None if seconds == math.inf else seconds


def _share(end: float | None, attempts: int) -> float:
    left = math.inf if end is None else max(end - time.monotonic(), MIN_CONNECT_SECONDS)
    return left / attempts


def _needs_name_server(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # Other names below localhost are asked for as well, by most systems.
        return host != "localhost"
    return False


def _resolve(found: Future[list[str]], host: str, port: int) -> None:
    try:
        known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found.set_result(list(dict.fromkeys(_with_interface(*each[4]) for each in known)))
    except UnicodeError:
        # A part of the name is empty or too long, and Python does not ask the system.
        found.set_exception(socket.gaierror(socket.EAI_NONAME, "no host can have this name"))
    except Exception as error:  # noqa: BLE001 - raised where its result is awaited
        found.set_exception(error)


def _with_interface(host: str, port: int, flow: int = 0, interface: int = 0) -> str:
    """Return an address; a link-local one of IPv6 with the number of its interface."""
    return f"{host}%{interface}" if interface else host
