"""What the clients of one server share: where it is, its key, its model, and its life."""

from __future__ import annotations

import dataclasses
import errno
import functools
import json
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx

from ..errors import MlxcelError, MlxcelServerError
from ..protocol.buffering import BufferingDetector
from ..protocol.context_window import Room
from ..protocol.embeddings import VectorMemory
from ..protocol.failures import (
    Failure,
    another_model,
    buffering,
    cut_by,
    not_a_stream,
    overflow,
    timed_out,
    unreachable,
)
from ..protocol.features import ServerFeatures
from ..protocol.flow import MISSING, Call
from ..protocol.headers import SESSION, check_headers, check_session, served_by
from ..protocol.stream import DeltaStream
from ..protocol.timeouts import Timeouts
from ..protocol.tokens import TokenMemory
from ..secret import Secret, hidden
from ..token_cache import TokenCache
from .diagnosis import is_timeout, system_number, system_reason, tls_failure
from .endpoint import Endpoint, Mode, resolve_mode
from .tls import TLS, USUAL_TLS

if TYPE_CHECKING:
    from ..supervisor.leases import Lease
    from ..supervisor.managed_server import ManagedServer

__all__ = ["Connection"]


class Connection:
    """Settings and cached knowledge of one server; it decides, and never waits.

    Args:
        model: Model to start a server with (managed mode).
        base_url: Address of a running server (connect mode).
        socket: Unix socket of a running server, or the path to bind in managed mode.
        api_key: Key that the server asks for; ``MLXCEL_API_KEY`` if None.
        default_headers: Headers to send with every request.
        session: Name of the conversation that requests belong to, unless they say otherwise.
        tls: How secure connections are made.
        served_model: Name of the served model to use; discovered if None.
        timeouts: How long to wait for what.
        max_retries: How often a request is sent again that the server has not begun to work on.
        check_context: Whether a chat that does not fit is refused before it is sent; None for
            where the server would not tell.
        server_options: Fields of ``ServerOptions``.

    Raises:
        MlxcelError: Too much is given, or nothing, or an option that is unknown.
    """

    # Until they are known, for the repr in the traceback of a constructor that fails.
    _model: str | None = None
    _endpoint: Endpoint | None = None

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        base_url: str | None = None,
        socket: str | os.PathLike[str] | None = None,
        api_key: Secret | None = None,
        default_headers: Mapping[str, Secret] | None = None,
        session: str | None = None,
        tls: TLS = USUAL_TLS,
        served_model: str | None = None,
        timeouts: Timeouts,
        max_retries: int = 2,
        check_context: bool | None = None,
        transport: object = None,
        server_options: Mapping[str, Any] | None = None,
    ) -> None:
        given = {name: v for name, v in (server_options or {}).items() if v is not None}
        if transport is not None and base_url is None and socket is None and model is None:
            base_url = "http://localhost"
        mode = resolve_mode(model, base_url, socket)
        self.api_key = _checked_key(api_key or hidden(os.environ.get("MLXCEL_API_KEY")))
        self.timeouts = timeouts
        self.max_retries = max_retries
        self.check_context = check_context
        self.tokens = TokenMemory(TokenCache())
        self.vectors = VectorMemory(served_model)
        self._served_model = served_model
        self.model_name: str | None = served_model
        self.features: ServerFeatures | None = None
        # The connections of a server that dies break a moment before its guard tells of it.
        self.settle_seconds = 0.05 if mode.model is not None else 0.0
        self._model = mode.model
        self._endpoint = _with_tls(mode.endpoint, tls) if mode.endpoint is not None else None
        self._default_headers = {n.lower(): value for n, value in (default_headers or {}).items()}
        check_headers(self._default_headers)
        self._session = check_session(session)
        self._lease: Lease | None = None
        self._lease = self._lease_for(mode, socket, given)
        self._headers = self._make_headers()
        self._answering: dict[Any, str] = {}
        self._under_way: set[BufferingDetector] = set()
        self._held_back = 0
        self._warnings: set[str] = set()

    def _lease_for(
        self, mode: Mode, socket: str | os.PathLike[str] | None, given: Mapping[str, Any]
    ) -> Lease | None:
        if mode.model is None:
            if given:
                from ..options import server_options

                server_options(dict(given))
                raise MlxcelError(
                    f"{', '.join(sorted(given))}: only for a server that is started here. Pass "
                    f"model= to start one, or drop this to use {mode.endpoint}."
                )
            return None
        from ..supervisor.leases import lease

        return lease(mode.model, socket=socket, api_key=self.api_key, **given)

    @property
    def server(self) -> ManagedServer | None:
        """The server that is started here; None in connect mode.

        Raises:
            MlxcelError: It was given back by ``close``.
        """
        return self._leased() if self._lease is not None else None

    def _leased(self) -> ManagedServer:
        assert self._lease is not None
        return self._lease.server

    @property
    def endpoint(self) -> Endpoint:
        """Where the server is; in managed mode, once it has started."""
        return self._endpoint or self._leased().endpoint

    @property
    def address(self) -> str | None:
        """Where a server is to be found now, None if one of ours is not running."""
        lease = self._lease
        if lease is not None and not (lease.alive and lease.server.state == "ready"):
            return None
        return str(self.endpoint)

    @property
    def name(self) -> str | None:
        """The model name to send, None if it must be asked for.

        The chat routes of a server that serves one model take any name, so a server that is
        started here needs no asking.
        """
        if self.model_name is None and self._lease is not None:
            self.model_name = self._lease.server.model_name
        return self.model_name

    def __repr__(self) -> str:
        if self._endpoint is None:
            return f"model={self._model!r}"
        return f"base_url={str(self._endpoint)!r}"

    def release(self) -> None:
        """Give the managed server back; it stops when nobody else uses it."""
        if self._lease is not None:
            self._lease.release()

    def request(self, ask: Call, wait: float) -> httpx.Request:
        """Return a request whose response must be read with a limit of its own.

        Args:
            ask: What to ask for.
            wait: Longest time until the response begins, in seconds.
        """
        request = httpx.Request(
            ask.method,
            _url(self.endpoint.url, ask.path),
            headers=self._headers,
            content=json.dumps(ask.body).encode() if ask.body is not None else None,
            extensions={
                "timeout": {
                    "connect": min(wait, self.timeouts.connecting),
                    "read": wait,
                    "write": wait,
                    "pool": wait,
                }
            },
        )
        request.headers.update(self.own_headers(ask.session))
        return request

    def own_headers(self, session: str | None = None) -> dict[str, str]:
        """Return what the user wants to be sent with every request.

        Args:
            session: Name of the conversation, None for that of all requests.
        """
        session = session or self._session
        named = {SESSION: session} if session is not None else {}
        return {**{name: value.reveal() for name, value in self._default_headers.items()}, **named}

    def _make_headers(self) -> httpx.Headers:
        # Any other encoding would cost the reader more than it saves on a local line.
        headers = httpx.Headers({"content-type": "application/json", "accept-encoding": "identity"})
        if self.api_key is not None:
            headers["authorization"] = f"Bearer {self.api_key.reveal()}"
        return headers

    def failure(self, error: Exception, limit: tuple[str, float]) -> Failure:
        """Tell why a request got no response.

        Args:
            error: What ended the wait.
            limit: The limit that it ran into, if it took too long.
        """
        where = str(self.endpoint)
        not_taken = isinstance(error, httpx.ConnectTimeout)
        if is_timeout(error) and not not_taken:
            return timed_out(where, *limit, error)
        insecurity = tls_failure(where, error)
        if insecurity is not None:
            return insecurity
        crash = self._crash()
        reason = self._end() or system_reason(error) or "it closed the connection"
        if not_taken:
            seconds = self.timeouts.connecting
            reason = f"it took no connection within {seconds:g} s (connect_timeout=)"
        never_sent = not_taken or isinstance(error, httpx.ConnectError)
        few = system_number(error) in (errno.EMFILE, errno.ENFILE)
        return unreachable(where, reason, error, never_sent=never_sent, few_files=few, crash=crash)

    def error(self, failure: Failure, ask: Call) -> Exception:
        """Return the exception of a request that failed."""
        if failure.crash is not None:
            return failure.crash
        if failure.status in MISSING:
            # What was there may be gone: another server answers, or a newer one.
            self.forget()
        try:
            from .openai_errors import api_error
        except (ImportError, OSError):
            # It is read from files, and this process may open no more.
            return MlxcelError(failure.message)
        return api_error(failure, self.endpoint.url + ask.path, ask.method)

    def absent(self, failure: Failure, ask: Call) -> None:
        """Take a missing route for a missing feature, and a busy server for a silent one.

        Raises:
            openai.APIError: The failure is of another kind.
        """
        if failure.status not in MISSING | {503}:
            raise self.error(failure, ask) from failure.cause

    def refuse_overflow(self, tokens: int, room: Room) -> None:
        """Refuse a prompt that has more tokens than there is room for.

        Raises:
            openai.BadRequestError: It has more.
        """
        if tokens > room.limit:
            failure = overflow(tokens, room.context_size, room.reserve, str(self.endpoint))
            raise self.error(failure, Call("/v1/chat/completions", {}))

    def not_json(self, path: str, headers: Mapping[str, str]) -> str:
        """Tell that a route did not answer JSON."""
        return (
            f"{self.where(headers)}: {path} did not answer JSON. Check that the address is that of "
            "an mlxcel server."
        )

    def broken(self, error: Exception, limit: tuple[str, float]) -> tuple[str, str]:
        """Tell why an answer ended while it was being read, and what a server of ours printed.

        Args:
            error: What ended the wait.
            limit: The limit that it ran into, if it took too long.
        """
        if is_timeout(error):
            return cut_by(*limit), ""
        crash = self._crash()
        reason = self._end() or system_reason(error) or "the connection was closed"
        return reason, crash.stderr if crash is not None else ""

    def _end(self) -> str | None:
        """Tell how the managed server ended, if it did."""
        if self._lease is None:
            return None
        return self._lease.server.end() if self._lease.alive else "it was closed by this program"

    def _crash(self) -> MlxcelServerError | None:
        """Return the error of a managed server that has ended by itself."""
        if self._lease is None or not self._lease.alive:
            return None
        server = self._lease.server
        how = server.end()
        if how is None:
            return None
        return MlxcelServerError(
            f"The server for {server.model!r} was lost while it was asked: {how}. Send the request "
            "again to have it started again. It said:",
            stderr=server.log_tail,
            returncode=server.poll(),
        )

    def not_a_stream(self, headers: Mapping[str, str], body: bytes) -> str:
        """Tell that a response of status 200 is no event stream."""
        return not_a_stream(headers.get("content-type", ""), body, self.where(headers))

    def where(self, headers: Mapping[str, str]) -> str:
        """Return the address, with the server behind it that answered if headers tell it."""
        server = served_by(headers)
        return f"{self.endpoint} (server {server!r})" if server else str(self.endpoint)

    def forget(self) -> None:
        """Find out anew, with the next need, what the server can do and what it serves."""
        self.features = None
        self.model_name = self._served_model
        self.tokens.forget(TokenCache())
        self.vectors.forget()

    def begin(self, asked: float) -> BufferingDetector:
        """Take note of an answer that begins, and return what watches its first tokens.

        Args:
            asked: When it was asked for, in seconds.
        """
        first = BufferingDetector(asked)
        self._under_way.add(first)
        if len(self._under_way) > 1:
            # A program that reads many at once may itself be what is late.
            for one in list(self._under_way):
                one.wanted = False
        return first

    def end(self, first: BufferingDetector) -> None:
        """Take note of an answer that has ended, complete or not."""
        self._under_way.discard(first)

    def learn(self, asked: Any, stream: DeltaStream, first: BufferingDetector) -> None:
        """Take note of what a complete answer tells about the way to it.

        Args:
            asked: The model that was asked for.
            stream: What read the answer.
            first: What watched its first tokens.
        """
        if first.held_back is not None:
            self._held_back = self._held_back + 1 if first.held_back else 0
        # One alone may come of a program that was busy, and nothing is between it and a socket.
        if self._held_back > 1 and self._lease is None and self.endpoint.socket is None:
            self._warn_once(buffering(str(self.endpoint)))
        if stream.model:
            known, self._answering[asked] = self._answering.get(asked), stream.model
            if known is not None and known != stream.model:
                self.forget()
                self._warn_once(another_model(str(self.endpoint), stream.model, known))

    def _warn_once(self, warning: str) -> None:
        if warning not in self._warnings:
            self._warnings.add(warning)
            warnings.warn(warning, stacklevel=4)

    def warn_of_misspelling(self, sampling: Mapping[str, Any]) -> None:
        """Warn of an unknown field that looks like a known one; it is sent all the same."""
        if sampling and not sampling.keys() <= _SEEN:
            from ..options import nearest_sampling_field

            for name in sampling.keys() - _SEEN:
                near = nearest_sampling_field(name)
                if near is not None:
                    warnings.warn(
                        f"{name!r} is no known sampling field and is sent as it is; did you mean "
                        f"{near!r}? To silence this, put it into extra_body=.",
                        stacklevel=4,
                    )
                _SEEN.add(name)


_SEEN: set[str] = set()
"""Names of fields that are known, or that were warned of once."""


@functools.lru_cache(maxsize=64)
def _url(root: str, path: str) -> httpx.URL:
    """Return a parsed URL; parsing takes longer than anything else in making a request."""
    return httpx.URL(root + path)


def _checked_key(key: Secret | None) -> Secret | None:
    """Return a key as it can be sent, None for no key.

    Raises:
        MlxcelError: It cannot be sent; the message does not show it.
    """
    if key is None or not key.reveal():
        return None
    if not (key.reveal().isascii() and key.reveal().isprintable()):
        raise MlxcelError("api_key= has characters that no key has: check where it comes from.")
    return key


def _with_tls(endpoint: Endpoint, tls: TLS) -> Endpoint:
    """Return an address with the options of secure connections, which others do without.

    Raises:
        MlxcelError: They need a file that is not there.
    """
    if not endpoint.is_secure:
        return endpoint
    tls.check()
    return dataclasses.replace(endpoint, tls=tls)
