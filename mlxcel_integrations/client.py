"""``LLM``: one language model, served by a process of its own or by a running server."""

from __future__ import annotations

import contextlib
import json
import os
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast, overload

import httpx

from .connection import Connection
from .errors import MlxcelError, MlxcelStreamError
from .pools import Pool, close_unconnected, keeps_alive, wait_at_most
from .protocol.chat import chat_depends_on_server, chat_request
from .protocol.chat_tokens import count_chat
from .protocol.completions import completion_depends_on_engine, completion_request
from .protocol.context import fit_chat, is_long, room_for_prompt, room_to_check
from .protocol.failures import Failure, Retries, from_status
from .protocol.features import ServerFeatures, choose_model, read_features, read_models
from .protocol.stream import ChatReply, Delta, Request, fold
from .protocol.structured import ask
from .protocol.tokens import Ask, Flow, count_texts, read_text, read_tokens
from .protocol.tools import check_results
from .secret import hidden

if TYPE_CHECKING:
    import openai

__all__ = ["LLM"]

Messages = str | Sequence[Mapping[str, Any]]
Message = TypeVar("Message", bound=Mapping[str, Any])
T = TypeVar("T")
DRAIN_SECONDS = 0.05


class LLM:
    """A language model on this machine, or on a server.

    Starts a server for ``model`` on first use (managed mode), or talks to the one at ``base_url``
    or ``socket`` (connect mode). With none of them, ``MLXCEL_BASE_URL``, ``MLXCEL_SOCKET`` and
    ``MLXCEL_MODEL`` are looked up. May be used from many threads at once.

    Args:
        model: Model to start a server with: a repository id or a directory for mlxcel, a
            ``.gguf`` file, or ``"embedded"`` for a small built-in model.
        base_url: Address of a running server, with or without ``/v1``; ``unix:///path`` too.
        socket: Unix socket of a running server; in managed mode, the path to bind.
        api_key: Key of the server; ``MLXCEL_API_KEY`` if not given.
        served_model: Which of several served models to use; discovered if not given.
        timeout: Longest silence of the server that is waited for, in seconds; 600 if not given.
        max_retries: How often a request is sent again that the server has not begun to work on.
        check_context: Whether a chat that does not fit into the context is refused before it is
            sent; by default where the server would forget its beginning and not tell.
        transport: An ``httpx`` transport to use instead of connecting, for tests.
        server_options: Fields of ``ServerOptions`` for the server that is started: ``binary``,
            ``host``, ``port``, ``ctx_size``, ``parallel``, ``startup_timeout`` and more.

    Raises:
        MlxcelError: Too much is given, or nothing, or an option that is unknown.

    Examples:
        >>> from mlxcel_integrations import LLM
        >>> with LLM(model="embedded") as llm:
        ...     answer = llm.chat("What is the capital of France?", max_tokens=8)
        >>> "Paris" in answer
        True
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        base_url: str | None = None,
        socket: str | os.PathLike[str] | None = None,
        api_key: str | None = None,
        served_model: str | None = None,
        timeout: float | None = None,
        max_retries: int = 2,
        check_context: bool | None = None,
        transport: httpx.BaseTransport | None = None,
        **server_options: Any,
    ) -> None:
        # A traceback with locals shows what is given to a function, but this no longer.
        key, api_key = hidden(api_key), None
        connection = Connection(
            model,
            base_url=base_url,
            socket=socket,
            api_key=key,
            served_model=served_model,
            timeout=timeout,
            max_retries=max_retries,
            check_context=check_context,
            transport=transport,
            server_options=server_options,
        )
        self._use(connection, transport)

    @classmethod
    def over(cls, connection: Connection) -> Self:
        """Return a client that shares a connection with others."""
        self = cls.__new__(cls)
        self._use(connection, None)
        return self

    def _use(self, connection: Connection, transport: httpx.BaseTransport | None) -> None:
        self._connection = connection
        self._pool = Pool(transport)
        self._openai: openai.OpenAI | None = None
        weakref.finalize(self, self._pool.close)

    def generate(self, prompt: str, **sampling: Any) -> str:
        """Return the continuation of a text, without a chat template.

        Args:
            prompt: The text.
            sampling: Fields of ``SamplingParams``; others are forwarded to the server.

        Returns:
            The new text.
        """
        return fold(self.stream_deltas(self.prepare_completion(prompt, sampling))).text

    def stream(self, prompt: str, **sampling: Any) -> Iterator[str]:
        """Yield the continuation of a text as it is generated."""
        for delta in self.stream_deltas(self.prepare_completion(prompt, sampling)):
            if delta.text:
                yield delta.text

    @overload
    def chat(
        self,
        messages: Messages,
        *,
        schema: None = None,
        show_schema: bool = True,
        **sampling: Any,
    ) -> str: ...
    @overload
    def chat(
        self,
        messages: Messages,
        *,
        schema: type[T],
        show_schema: bool = True,
        **sampling: Any,
    ) -> T: ...
    @overload
    def chat(
        self,
        messages: Messages,
        *,
        schema: Any,
        show_schema: bool = True,
        **sampling: Any,
    ) -> Any: ...
    def chat(
        self,
        messages: Messages,
        *,
        schema: Any = None,
        show_schema: bool = True,
        **sampling: Any,
    ) -> Any:
        """Return the answer to a conversation.

        Args:
            messages: OpenAI messages, or one user message as plain text.
            schema: What the answer must look like: a Pydantic model, a dataclass, a
                ``TypedDict``, an ``Enum``, a ``Literal``, another type of data, or a JSON schema.
            show_schema: Whether the schema is put before the model, in the system message.
            sampling: Fields of ``SamplingParams``; others are forwarded to the server.

        Returns:
            The text of the answer, without the model's thinking; with ``schema``, the object.

        Raises:
            StructuredOutputTruncated: The answer was cut before its JSON ended.
            StructuredOutputError: The answer does not fit the schema.
        """
        reply = self.complete_chat(messages, schema=schema, show_schema=show_schema, **sampling)
        return reply.text if schema is None else reply.parsed

    @overload
    def chat_stream(
        self,
        messages: Messages,
        *,
        schema: None = None,
        show_schema: bool = True,
        **sampling: Any,
    ) -> Iterator[str]: ...
    @overload
    def chat_stream(
        self,
        messages: Messages,
        *,
        schema: type[T],
        show_schema: bool = True,
        **sampling: Any,
    ) -> Iterator[T]: ...
    @overload
    def chat_stream(
        self,
        messages: Messages,
        *,
        schema: Any,
        show_schema: bool = True,
        **sampling: Any,
    ) -> Iterator[Any]: ...
    def chat_stream(
        self,
        messages: Messages,
        *,
        schema: Any = None,
        show_schema: bool = True,
        **sampling: Any,
    ) -> Iterator[Any]:
        """Yield the answer to a conversation as it is generated.

        With ``schema``, yield objects that fill: what has not come is None, or the field's
        default, and no validator has run. The last one is complete and valid.
        """
        question = ask(messages, sampling, schema, show_schema)
        request = self.prepare_chat(question.messages, question.sampling)
        answers = question.answers()
        for delta in self.stream_deltas(request):
            yield from answers.feed(delta)
        yield from answers.close()

    def complete_chat(
        self,
        messages: Messages,
        *,
        schema: Any = None,
        show_schema: bool = True,
        **sampling: Any,
    ) -> ChatReply:
        """Return the answer to a conversation with everything the server tells about it.

        With ``schema``, what it says is in ``parsed``.
        """
        question = ask(messages, sampling, schema, show_schema)
        deltas = self.stream_deltas(self.prepare_chat(question.messages, question.sampling))
        return question.read(fold(deltas))

    def models(self) -> list[str]:
        """Return the names of all served models."""
        return [model.id for model in read_models(self._call("GET", "/v1/models"))]

    @property
    def model(self) -> str:
        """Name of the model in use: given, or discovered once."""
        connection = self._connection
        if connection.name is None:
            served = read_models(self._call("GET", "/v1/models"))
            connection.model_name = choose_model(served, str(connection.endpoint))
        return connection.name or ""

    @property
    def features(self) -> ServerFeatures:
        """What the server can do; asked for once."""
        connection = self._connection
        if connection.features is None:
            connection.features = read_features(
                self._call_if_there("/health"),
                self._call_if_there("/props"),
                self._call("GET", "/v1/models"),
            )
        return connection.features

    def tokenize(self, text: str, add_special: bool = False) -> list[int]:
        """Return the token ids of a text.

        Args:
            text: The text.
            add_special: Whether to add the tokens that begin a prompt.
        """
        body = {"content": text, "add_special": add_special}
        return read_tokens(self._call("POST", "/tokenize", body))

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Return the text of token ids."""
        return read_text(self._call("POST", "/detokenize", {"tokens": list(tokens)}))

    @overload
    def count_tokens(self, text: str) -> int: ...

    @overload
    def count_tokens(self, text: list[str]) -> list[int]: ...

    def count_tokens(self, text: str | list[str]) -> int | list[int]:
        """Return the number of tokens of a text, or of each of many texts.

        Many texts are counted in one request where the server can do that, and what was counted
        lately is not asked for again.

        Args:
            text: One text, or a list of them.

        Returns:
            The number of ids that ``tokenize`` gives; for a list, one for each text in its order.
        """
        tokens = self._connection.tokens
        if isinstance(text, str):
            (count,) = self._run(count_texts([text], tokens))
            return count
        return self._run(count_texts(text, tokens))

    def count_message_tokens(
        self, messages: Messages, tools: Sequence[Mapping[str, Any]] | None = None, **sampling: Any
    ) -> int:
        """Return the number of tokens of the prompt that a conversation becomes.

        It is the ``usage["prompt_tokens"]`` of the answer. ``counting_route`` tells how it was
        found out.

        Args:
            messages: As for ``chat``.
            tools: OpenAI tools that go with them.
            sampling: What else the request will have, such as ``chat_template_kwargs``.

        Raises:
            MlxcelError: The server has none of the routes for it.
        """
        request = self._request_for_chat(messages, {**sampling, "tools": tools})
        return self._run(count_chat(request.body, self._connection.tokens))

    @property
    def counting_route(self) -> str | None:
        """The route by which messages are counted, None before the first count."""
        return self._connection.tokens.route

    def fit_messages(
        self,
        messages: Sequence[Message],
        reserve: int | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **sampling: Any,
    ) -> list[Message]:
        """Return the messages without the oldest ones that do not fit into the context.

        System messages at the beginning and the last user message stay, and tool results stay
        with their calls.

        Args:
            messages: As for ``chat``.
            reserve: Tokens to leave for the answer; ``max_tokens`` if not given, or else a
                quarter of the context.
            tools: OpenAI tools that go with them.
            sampling: What else the request will have, such as ``chat_template_kwargs``.

        Raises:
            openai.BadRequestError: Even the last turn alone does not fit.
            MlxcelError: The server does not tell its context, or cannot count.
        """
        kept = self.prepare_fit(messages, reserve, {**sampling, "tools": tools})
        return [messages[index] for index in kept]

    @property
    def openai_client(self) -> openai.OpenAI:
        """The ``openai`` client for the same server, for what this class does not offer.

        It does not retry by itself, and lives as long as this object.
        """
        self.start()
        if self._openai is None:
            from .openai_clients import sync_client

            self._openai = sync_client(self._connection)
        return self._openai

    def start(self) -> Self:
        """Start the managed server now instead of on first use; nothing in connect mode.

        Raises:
            MlxcelServerError: It did not start.
            MlxcelTimeoutError: It was not ready in time.
        """
        server = self._connection.server
        if server is not None:
            server.start()
        return self

    def close(self) -> None:
        """Close all connections and give the managed server back; it stops with its last user."""
        if self._openai is not None:
            self._openai.close()
        self._pool.close()
        self._connection.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        # It may be half made, in the traceback of a constructor that fails.
        return f"{type(self).__name__}({getattr(self, '_connection', '')})"

    def prepare_chat(self, messages: Messages, sampling: Mapping[str, Any]) -> Request:
        """Return the request for an answer to a conversation, for ``stream_deltas``."""
        self._connection.warn_of_misspelling(sampling)
        request = self._request_for_chat(messages, sampling)
        check_results(request.body["messages"])
        check = self._connection.check_context
        if check or (check is None and is_long(request.body)):
            self._check_context(request.body)
        return request

    def prepare_fit(
        self,
        messages: Sequence[Mapping[str, Any]],
        reserve: int | None,
        sampling: Mapping[str, Any],
    ) -> list[int]:
        """Return the indices of the messages that ``fit_messages`` keeps."""
        connection = self._connection
        request = self._request_for_chat(messages, sampling)
        room = room_for_prompt(self.features, reserve, request.body)
        kept, tokens = self._run(fit_chat(request.body, room.limit, connection.tokens))
        connection.refuse_overflow(tokens, room)
        return kept

    def prepare_completion(self, prompt: str, sampling: Mapping[str, Any]) -> Request:
        """Return the request for the continuation of a text, for ``stream_deltas``."""
        self._connection.warn_of_misspelling(sampling)
        model = sampling.get("model") or self.model
        engine = self._engine(completion_depends_on_engine(sampling))
        return completion_request(model, prompt, sampling, engine)

    def stream_deltas(self, request: Request) -> Iterator[Delta]:
        """Send a generation and yield what its events add to the answer.

        Raises:
            MlxcelStreamError: The answer broke off, or was no answer.
            openai.APIError: The server refused the request or could not be reached.
        """
        connection = self._connection
        response = self._open("POST", request.route, request.body)
        stream = request.stream()
        try:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise MlxcelStreamError(self._not_a_stream(response))
            wait_at_most(response, connection.timeout)
            pieces = response.iter_bytes()
            for piece in pieces:
                yield from stream.feed(piece)
                if stream.done:
                    if keeps_alive(response):
                        self._drain(response, pieces)
                    return
            stream.close()
        except httpx.TransportError as error:
            time.sleep(connection.settle_seconds)
            stream.close(*connection.broken(error))
        finally:
            response.close()

    def _request_for_chat(self, messages: Messages, sampling: Mapping[str, Any]) -> Request:
        model = sampling.get("model") or self.model
        features = self.features if chat_depends_on_server(messages, sampling) else None
        return chat_request(model, messages, sampling, features)

    def _check_context(self, body: Mapping[str, Any]) -> None:
        """Refuse a chat that does not fit, where this is wanted and not known to be needless."""
        connection = self._connection
        room = room_to_check(self.features, connection.check_context, body)
        if room is not None:
            tokens = self._run(count_chat(body, connection.tokens))
            connection.refuse_overflow(tokens, room)

    def _engine(self, matters: bool) -> str | None:
        """Return what serves the model, None if it does not matter."""
        return self.features.engine if matters else None

    def _run(self, flow: Flow[T]) -> T:
        """Make the requests that a flow asks for, and return what it has found out."""
        answer: Any = None
        while True:
            try:
                ask = flow.send(answer)
            except StopIteration as end:
                return cast("T", end.value)
            answer = self._answer(ask)

    def _answer(self, ask: Ask) -> Any:
        """Return the JSON that a flow asks for, or the failure that it expects."""
        method = "GET" if ask.body is None else "POST"
        answer = self._last_attempt(method, ask.path, ask.body)
        if isinstance(answer, httpx.Response):
            return self._json(answer, method, ask.path)
        if answer.status in ask.expected:
            return answer
        raise self._connection.error(answer, method, ask.path) from answer.cause

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that a route answers."""
        response = self._open(method, path, body)
        return self._json(response, method, path)

    def _call_if_there(self, path: str) -> Any:
        """Return the JSON that a route answers, None where the server does not have it."""
        answer = self._attempt("GET", path, None)
        if isinstance(answer, Failure):
            return self._connection.absent(answer, path)
        try:
            return self._json(answer, "GET", path)
        except MlxcelError:
            return None

    def _json(self, response: httpx.Response, method: str, path: str) -> Any:
        connection = self._connection
        try:
            return json.loads(self._read(response))
        except httpx.TransportError as error:
            raise connection.error(connection.failure(error), method, path) from error
        except (ValueError, RecursionError):
            raise MlxcelError(connection.not_json(path)) from None

    def _open(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        """Return a response of status 200 whose body has not been read."""
        answer = self._last_attempt(method, path, body)
        if isinstance(answer, Failure):
            raise self._connection.error(answer, method, path) from answer.cause
        return answer

    def _last_attempt(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> httpx.Response | Failure:
        """Send a request as often as it may be sent, and return what came of it in the end."""
        retries = Retries(self._connection.max_retries)
        while True:
            answer = self._attempt(method, path, body)
            if isinstance(answer, httpx.Response):
                return answer
            delay = retries.delay(answer)
            if delay is None:
                return answer
            time.sleep(delay)

    def _attempt(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> httpx.Response | Failure:
        self.start()
        connection = self._connection
        request = connection.request(method, path, body)
        try:
            response = self._pool.transport(connection.endpoint).handle_request(request)
            # From here on the limit is the socket's, which can be changed on the way.
            request.extensions["timeout"]["read"] = None
            if response.status_code == 200:
                return response
            text = self._read(response)
        except httpx.TransportError as error:
            close_unconnected(error)
            time.sleep(connection.settle_seconds)
            return connection.failure(error)
        where = str(connection.endpoint)
        return from_status(response.status_code, response.headers, text, where)

    def _read(self, response: httpx.Response) -> bytes:
        wait_at_most(response, self._connection.timeout)
        try:
            return b"".join(response.iter_bytes())
        finally:
            response.close()

    def _not_a_stream(self, response: httpx.Response) -> str:
        wait_at_most(response, self._connection.timeout)
        content_type = response.headers.get("content-type", "")
        return self._connection.not_a_stream(content_type, next(response.iter_bytes(), b""))

    def _drain(self, response: httpx.Response, pieces: Iterator[bytes]) -> None:
        """Read what follows ``[DONE]``, so that the connection can be used again.

        A server that sends nothing more, nor ends the response, must not hold up the answer.
        """
        wait_at_most(response, DRAIN_SECONDS)
        with contextlib.suppress(httpx.TransportError):
            next(pieces, None)
