"""``Connection``: where one server is, knowledge about it, and requests to it."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx

from ..errors import MlxcelError, warn_caller
from ..protocol.answers.buffering import BufferingDetector
from ..protocol.answers.stream import DeltaStream
from ..protocol.body import encode_body
from ..protocol.discovery import same_model
from ..protocol.flow import Call
from ..protocol.headers import SESSION, check_headers, check_session
from ..protocol.server_warnings import another_model, buffering, not_the_model, template_failed
from ..protocol.strict_roles import Roles
from ..protocol.tokens.message_tokens import chat_to_check
from ..protocol.tokens.tokenize import TokenMemory
from ..protocol.vectors.vector_models import VectorMemory
from ..secret import NotPicklable, Secret, hidden, redacted
from .endpoint import Endpoint
from .line import Line, line_of
from .token_cache import TokenCache

if TYPE_CHECKING:
    from ..protocol.features import ServerFeatures
    from ..protocol.schemas.relaxation import RefusedSchemas
    from .server import Server, ServerLease
    from .settings import ConnectionSettings

__all__ = ["Connection", "checked_key"]


class Connection(NotPicklable):
    """One server: where it is, what is known about it, and requests to it. It never waits.

    Args:
        settings: What the user has set.
        endpoint: Address of a running server (connect mode).
        lease: The right to use a server of our own (managed mode).
        embedder: A second server of our own that embeds; None if this one does.

    Attributes:
        settings: What the user has set.
        features: What the server can do, None if it is not known yet.
        model: Name of the model in use, given or reported by the server; None if not known yet.
        roles: What is known about the roles of messages.
        refuses_begun: Whether the server has refused a conversation that ends with the beginning of
            the answer.
        refuses_tools: Whether the server has refused a request because it knows no tools.
        tokens: What is known about counting tokens.
        vectors: What is known about embeddings and reranking.
        line: The generations that wait for a slot.
        under_way: The detectors of buffering in the answers that are being read.
        settle_seconds: How long to wait before diagnosing a broken connection: those of a managed
            server break a moment before its guard reports its end.

    Raises:
        MlxcelError: The key, a header or the session cannot be sent.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        endpoint: Endpoint | None,
        lease: ServerLease | None,
        embedder: Connection | None = None,
    ) -> None:
        self.settings = settings
        self._endpoint = endpoint
        self.lease = lease
        self.embedder = embedder
        self.api_key = checked_key(settings.api_key)
        self.timeouts = settings.timeouts
        self.roles = Roles(settings.merge_messages)
        self.tokens = TokenMemory(TokenCache(), self.roles)
        self.vectors = VectorMemory(settings.served_model, self.tokens)
        self.refuses_begun = False
        self.refuses_tools = False
        self.features: ServerFeatures | None = None
        self.model = settings.served_model
        self._closed = False
        self.settle_seconds = 0.05 if lease is not None else 0.0
        self._default_headers = {
            name.lower(): value for name, value in (settings.default_headers or {}).items()
        }
        check_headers(self._default_headers)
        self._session = check_session(settings.session)
        self._headers = self._make_headers()
        # A managed server is started with a queue for requests.
        self.line = line_of(endpoint.canonical) if endpoint is not None else Line(known=True)
        self._answering: dict[Any, str] = {}
        self.under_way: set[BufferingDetector] = set()
        self._buffered_in_a_row = 0
        self._warnings: set[str] = set()

    @functools.cached_property
    def refused_schemas(self) -> RefusedSchemas:
        """What is known about schemas that the server cannot compile."""
        # Imported here since most programs send none.
        from ..protocol.schemas.relaxation import RefusedSchemas

        return RefusedSchemas()

    @property
    def server(self) -> Server | None:
        """The managed server; None in connect mode.

        Raises:
            MlxcelError: The connection was closed.
        """
        if self.lease is not None:
            return self.lease.server
        self.check_open()
        return None

    @property
    def model_to_start(self) -> str | None:
        """The model of the managed server; None in connect mode, or where a variable names it."""
        return self.settings.model

    @property
    def servers(self) -> list[Connection]:
        """The connections to both servers: this one, and the embedder if there is one."""
        return [self, self.embedder] if self.embedder is not None else [self]

    @property
    def starting_together(self) -> list[Connection]:
        """Those whose servers start together: the embedder only if the user has named its model."""
        return self.servers if self.settings.server_options.get("embedding_model") else [self]

    @property
    def embedding(self) -> Connection:
        """The connection to the server that embeds: the embedder, or this one."""
        return self.embedder or self

    def check_open(self) -> None:
        """Check that the connection was not closed.

        Raises:
            MlxcelError: It was.
        """
        if self._closed and self.lease is None:
            raise MlxcelError(
                f"The connection to {self._endpoint} was closed: make a new object to use it again."
            )

    @property
    def endpoint(self) -> Endpoint:
        """Address of the server; in managed mode, once it has started."""
        if self._endpoint is not None:
            return self._endpoint
        assert self.lease is not None
        return self.lease.server.endpoint

    @property
    def address(self) -> str | None:
        """Address of the server as text, None for a managed server that is not running."""
        lease = self.lease
        if lease is not None and not (lease.alive and lease.server.state == "ready"):
            return None
        return str(self.endpoint)

    @property
    def model_to_send(self) -> str | None:
        """Name of the model in requests for answers, None if it has to be discovered.

        A managed server has one model for answers, and its routes for them take any name.
        """
        if self.model is None and self.lease is not None and self.lease.alive:
            # In a locale that cannot decode it, it holds surrogates, which no server accepts.
            name = self.lease.server.model_name.encode(errors="surrogateescape")
            return name.decode(errors="replace")
        return self.model

    def __repr__(self) -> str:
        if self._endpoint is None:
            return f"model={self.settings.model!r}"
        return f"base_url={str(self._endpoint)!r}"

    @property
    def state(self) -> str | None:
        """``closed``, or what the managed server is doing; None in connect mode."""
        lease = self.lease
        if self._closed or (lease is not None and not lease.alive):
            return "closed"
        return lease.server.state if lease is not None else None

    def release(self) -> None:
        """Refuse requests from now on, and give the managed server back.

        It stops when nothing else uses it.
        """
        self._closed = True
        try:
            if self.embedder is not None:
                self.embedder.release()
        finally:
            if self.lease is not None:
                self.lease.release()

    def request(self, call: Call, endpoint: Endpoint, timeout: float) -> httpx.Request:
        """Return the request for a call.

        Args:
            call: What to ask for.
            endpoint: Address of the server.
            timeout: Longest time until the response begins, in seconds.

        Raises:
            MlxcelError: The connection was closed.
        """
        if self._closed:
            self.check_open()
        url = _url(endpoint.url, call.path)
        content = encode_body(call.body) if call.body is not None else b""
        waits = dict.fromkeys(("read", "write", "pool"), timeout)
        waits["connect"] = min(timeout, self.timeouts.connect_timeout)
        request = httpx.Request(
            call.method,
            url,
            # No variable may hold the headers: a traceback with locals would show the key in them.
            headers=[
                (b"host", url.netloc),
                (b"content-length", b"%d" % len(content)),
                *self._headers.raw,
            ],
            # With ``content=``, httpx would look for headers to add, which takes longer than all
            # of this.
            stream=httpx.ByteStream(content),
            extensions={"timeout": waits},
        )
        # Transports for tests look at its content.
        request.read()
        if self._default_headers or self._session or call.session:
            request.headers.update(self.own_headers(call.session))
        return request

    def own_headers(self, session: str | None = None) -> dict[str, str]:
        """Return the headers that the user wants to send with every request.

        Args:
            session: Name of the conversation, None for that of all requests.
        """
        session = session or self._session
        named = {SESSION: session} if session is not None else {}
        return {**{name: value.reveal() for name, value in self._default_headers.items()}, **named}

    def _make_headers(self) -> httpx.Headers:
        # Compression would cost more time than it saves on a local connection.
        headers = httpx.Headers({"content-type": "application/json", "accept-encoding": "identity"})
        if self.api_key is not None:
            headers["authorization"] = f"Bearer {self.api_key.reveal()}"
        return headers

    def where(self, server: str | None) -> str:
        """Return the address, with the name of the server behind it that answered if known."""
        return f"{self.endpoint} (server {redacted(server)!r})" if server else str(self.endpoint)

    def forget(self) -> None:
        """Forget what is known about the server, since it may be another server now."""
        self.features = None
        self.model = self.settings.served_model
        self.roles.forget()
        self.__dict__.pop("refused_schemas", None)
        self.refuses_begun = False
        self.refuses_tools = False
        self.tokens.forget(TokenCache())
        self.vectors.forget()
        if self.lease is None:
            self.line.forget()

    def learn(self, body: Mapping[str, Any], answer: DeltaStream, buffered: bool | None) -> None:
        """Learn from a complete answer which model answers, and whether a proxy buffers.

        Args:
            body: The body of the request.
            answer: The reader of the answer.
            buffered: Whether its first tokens came late and all at once, None if unknown.
        """
        if self.lease is not None:
            self.pass_on_template_failure()
        if buffered is not None:
            self._buffered_in_a_row = self._buffered_in_a_row + 1 if buffered else 0
        # A single burst may be our own delay, and a Unix socket has no proxy in between.
        if self._buffered_in_a_row > 1 and self.lease is None and self.endpoint.socket is None:
            self._warn_once(buffering(str(self.endpoint)))
        requested, model = body.get("model"), answer.model
        served = self.settings.served_model
        if model and served and requested == served and not same_model(served, model):
            self._warn_once(not_the_model(str(self.endpoint), served, model))
        if model:
            known, self._answering[requested] = self._answering.get(requested), model
            if known is not None and known != model:
                self.forget()
                self._warn_once(another_model(str(self.endpoint), model, known))
        if answer.prompt_tokens is not None:
            chat = chat_to_check(body, self.tokens)
            if chat is not None:
                self.tokens.answered = chat, answer.prompt_tokens

    def pass_on_template_failure(self) -> None:
        """Warn if the log of the managed server says that its chat template has failed."""
        lease = self.lease
        reason = lease.server.take_template_failure() if lease is not None and lease.alive else None
        if reason is not None:
            self.roles.template_failed(reason)
            self._warn_once(template_failed(reason))

    def _warn_once(self, warning: str) -> None:
        warning = redacted(warning)
        if warning not in self._warnings:
            self._warnings.add(warning)
            warn_caller(warning)


@functools.lru_cache(maxsize=64)
def _url(root: str, path: str) -> httpx.URL:
    """Return a parsed URL; parsing takes longer than anything else in making a request."""
    return httpx.URL(root + path)


def checked_key(key: Secret | None) -> Secret | None:
    """Return the key to send, ``MLXCEL_API_KEY`` if none is given; None for no key.

    Raises:
        MlxcelError: It cannot be sent; the message does not show it.
    """
    key = key or hidden(os.environ.get("MLXCEL_API_KEY"))
    if key is None or not key.reveal():
        return None
    if not (key.reveal().isascii() and key.reveal().isprintable()):
        raise MlxcelError(
            "api_key= contains characters that no key has, such as a line break: check where it "
            "comes from."
        )
    return key
