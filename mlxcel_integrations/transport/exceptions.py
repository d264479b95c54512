"""Exceptions of failed calls, most of them classes of ``openai``, which takes long to import."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

from ..errors import MlxcelError, causes
from ..forks import between_forks
from ..protocol.failures import Failure
from ..protocol.flow import MISSING_ROUTE_STATUSES, Call
from ..protocol.timeouts import MAX_WAIT_SECONDS
from .connection import Connection

__all__ = ["in_time", "to_exception"]

PREPARED_SECONDS = 2.0
"""How long before the limit of a request its exception is prepared; less if the limit is short."""


class Timer(Protocol):
    """What can be cancelled before its time has come."""

    def cancel(self) -> None:
        """Do nothing at its time."""


CallLater: TypeAlias = Callable[[float, Callable[[], None]], Timer]
"""Calls a function after some seconds."""


def in_time(
    total_timeout: float | None, call_later: CallLater
) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Return what makes a block in which exceptions are prepared for requests near their limit.

    Args:
        total_timeout: Their limit, in seconds.
        call_later: Calls a function after some seconds.
    """
    if total_timeout is None:
        return contextlib.nullcontext
    return functools.partial(_in_time, total_timeout, call_later)


@contextlib.contextmanager
def _in_time(total_timeout: float, call_later: CallLater) -> Iterator[None]:
    if "openai" in sys.modules:
        yield
        return
    seconds = max(total_timeout - PREPARED_SECONDS, total_timeout / 4)
    timer = call_later(min(seconds, MAX_WAIT_SECONDS), _prepare)
    try:
        yield
    finally:
        timer.cancel()


def _prepare() -> None:
    # Python waits for this thread at its end, or a lock that it holds would stay locked.
    with contextlib.suppress(RuntimeError):  # There are too many threads, or Python is ending.
        threading.Thread(target=_import_classes).start()


def _import_classes() -> None:
    # If this fails, so does the import of the exception that is raised.
    with contextlib.suppress(Exception), between_forks:
        from . import openai_errors  # noqa: F401


def to_exception(connection: Connection, failure: Failure, call: Call) -> Exception:
    """Return the exception for a call that failed, with the system's own error as ``cause``.

    Raise it ``from None``: its message contains all that the errors behind it say.
    """
    error = failure.crash or _api_error(connection, failure, call)
    vars(error)["cause"] = _root_error(failure.cause)
    return error


def _api_error(connection: Connection, failure: Failure, call: Call) -> Exception:
    if failure.status in MISSING_ROUTE_STATUSES:
        # A route that is missing now may have been there before: the server was replaced.
        connection.forget()
    try:
        with between_forks:
            from .openai_errors import api_error
    except (ImportError, OSError):
        # Importing it opens files, and this process may have reached its limit of open files.
        return MlxcelError(failure.message)
    return api_error(failure, connection.endpoint.url + call.path, call.method)


def _root_error(error: BaseException | None) -> BaseException | None:
    """Return the first of the errors behind an error, without its traceback."""
    first = None
    for cause in causes(error):
        first = cause.with_traceback(None)
    return first
