"""``AsyncLLM``: the twin of ``LLM`` for ``asyncio``; what is not about waiting stands there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast, overload
from weakref import WeakKeyDictionary

import httpx

from .async_pools import AsyncPools
from .client import DRAIN_SECONDS, Message, Messages, T
from .connection import Connection
from .errors import MlxcelError, MlxcelStreamError
from .pools import hang_up, keeps_alive
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


__all__ = ["AsyncLLM"]


class AsyncLLM:
    """A language model on this machine, or on a server, for ``asyncio``.

    Takes what ``LLM`` takes, and offers the same under the same names, awaited: also ``await
    llm.model`` and ``await llm.features``. May be used from several event loops, one after the
    other or at once; starting a server never blocks them.

    Examples:
        >>> import asyncio
        >>> from mlxcel_integrations import AsyncLLM
        >>> async def main():
        ...     async with AsyncLLM(model="embedded") as llm:
        ...         async for text in llm.chat_stream("What is the capital of France?"):
        ...             print(text, end="")
        >>> asyncio.run(main())
         Paris
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
        transport: httpx.AsyncBaseTransport | None = None,
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

    def _use(self, connection: Connection, transport: httpx.AsyncBaseTransport | None) -> None:
        self._connection = connection
        self._pools = AsyncPools(transport)
        self._openai: WeakKeyDictionary[asyncio.AbstractEventLoop, openai.AsyncOpenAI] = (
            WeakKeyDictionary()
        )

    async def generate(self, prompt: str, **sampling: Any) -> str:
        """Return the continuation of a text, without a chat template.

        Args:
            prompt: The text.
            sampling: Fields of ``SamplingParams``; others are forwarded to the server.

        Returns:
            The new text.
        """
        deltas = self.stream_deltas(await self.prepare_completion(prompt, sampling))
        return fold([delta async for delta in deltas]).text

    async def stream(self, prompt: str, **sampling: Any) -> AsyncIterator[str]:
        """Yield the continuation of a text as it is generated."""
        request = await self.prepare_completion(prompt, sampling)
        async with contextlib.aclosing(self.stream_deltas(request)) as deltas:
            async for delta in deltas:
                if delta.text:
                    yield delta.text

    @overload
    async def chat(
        self,
        messages: Messages,
        *,
        schema: None = None,
        show_schema: bool = True,
        **sampling: Any,
    ) -> str: ...
    @overload
    async def chat(
        self,
        messages: Messages,
        *,
        schema: type[T],
        show_schema: bool = True,
        **sampling: Any,
    ) -> T: ...
    @overload
    async def chat(
        self,
        messages: Messages,
        *,
        schema: Any,
        show_schema: bool = True,
        **sampling: Any,
    ) -> Any: ...
    async def chat(
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
        reply = await self.complete_chat(
            messages, schema=schema, show_schema=show_schema, **sampling
        )
        return reply.text if schema is None else reply.parsed

    @overload
    def chat_stream(
        self,
        messages: Messages,
        *,
        schema: None = None,
        show_schema: bool = True,
        **sampling: Any,
    ) -> AsyncIterator[str]: ...
    @overload
    def chat_stream(
        self,
        messages: Messages,
        *,
        schema: type[T],
        show_schema: bool = True,
        **sampling: Any,
    ) -> AsyncIterator[T]: ...
    @overload
    def chat_stream(
        self,
        messages: Messages,
        *,
        schema: Any,
        show_schema: bool = True,
        **sampling: Any,
    ) -> AsyncIterator[Any]: ...
    async def chat_stream(
        self,
        messages: Messages,
        *,
        schema: Any = None,
        show_schema: bool = True,
        **sampling: Any,
    ) -> AsyncIterator[Any]:
        """Yield the answer to a conversation as it is generated.

        With ``schema``, yield objects that fill: what has not come is None, or the field's
        default, and no validator has run. The last one is complete and valid.
        """
        question = ask(messages, sampling, schema, show_schema)
        request = await self.prepare_chat(question.messages, question.sampling)
        answers = question.answers()
        async with contextlib.aclosing(self.stream_deltas(request)) as deltas:
            async for delta in deltas:
                for answer in answers.feed(delta):
                    yield answer
        for answer in answers.close():
            yield answer

    async def complete_chat(
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
        deltas = self.stream_deltas(await self.prepare_chat(question.messages, question.sampling))
        return question.read(fold([delta async for delta in deltas]))

    async def models(self) -> list[str]:
        """Return the names of all served models."""
        return [model.id for model in read_models(await self._call("GET", "/v1/models"))]

    @property
    def model(self) -> Awaitable[str]:
        """Name of the model in use, to be awaited: given, or discovered once."""
        return self._model()

    async def _model(self) -> str:
        connection = self._connection
        if connection.name is None:
            served = read_models(await self._call("GET", "/v1/models"))
            connection.model_name = choose_model(served, str(connection.endpoint))
        return connection.name or ""

    @property
    def features(self) -> Awaitable[ServerFeatures]:
        """What the server can do, to be awaited; asked for once."""
        return self._features()

    async def _features(self) -> ServerFeatures:
        connection = self._connection
        if connection.features is None:
            connection.features = read_features(
                await self._call_if_there("/health"),
                await self._call_if_there("/props"),
                await self._call("GET", "/v1/models"),
            )
        return connection.features

    async def tokenize(self, text: str, add_special: bool = False) -> list[int]:
        """Return the token ids of a text.

        Args:
            text: The text.
            add_special: Whether to add the tokens that begin a prompt.
        """
        body = {"content": text, "add_special": add_special}
        return read_tokens(await self._call("POST", "/tokenize", body))

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """Return the text of token ids."""
        return read_text(await self._call("POST", "/detokenize", {"tokens": list(tokens)}))

    @overload
    async def count_tokens(self, text: str) -> int: ...

    @overload
    async def count_tokens(self, text: list[str]) -> list[int]: ...

    async def count_tokens(self, text: str | list[str]) -> int | list[int]:
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
            (count,) = await self._run(count_texts([text], tokens))
            return count
        return await self._run(count_texts(text, tokens))

    async def count_message_tokens(
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
        request = await self._request_for_chat(messages, {**sampling, "tools": tools})
        return await self._run(count_chat(request.body, self._connection.tokens))

    @property
    def counting_route(self) -> str | None:
        """The route by which messages are counted, None before the first count."""
        return self._connection.tokens.route

    async def fit_messages(
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
        kept = await self.prepare_fit(messages, reserve, {**sampling, "tools": tools})
        return [messages[index] for index in kept]

    @property
    def openai_client(self) -> openai.AsyncOpenAI:
        """The ``openai`` client for the same server, for what this class does not offer.

        It does not retry by itself, and belongs to the running event loop. In managed mode,
        ``start`` must have been awaited.
        """
        loop = asyncio.get_running_loop()
        if loop not in self._openai:
            from .openai_clients import async_client

            self._openai[loop] = async_client(self._connection)
        return self._openai[loop]

    async def start(self) -> Self:
        """Start the managed server now instead of on first use; nothing in connect mode.

        Raises:
            MlxcelServerError: It did not start.
            MlxcelTimeoutError: It was not ready in time.
        """
        server = self._connection.server
        if server is not None:
            await server.astart()
        return self

    async def close(self) -> None:
        """Close all connections and give the managed server back; it stops with its last user."""
        client = self._openai.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()
        await self._pools.close()
        # Stopping a server waits for its end.
        await asyncio.to_thread(self._connection.release)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        # It may be half made, in the traceback of a constructor that fails.
        return f"{type(self).__name__}({getattr(self, '_connection', '')})"

    async def prepare_chat(self, messages: Messages, sampling: Mapping[str, Any]) -> Request:
        """Return the request for an answer to a conversation, for ``stream_deltas``."""
        self._connection.warn_of_misspelling(sampling)
        request = await self._request_for_chat(messages, sampling)
        check_results(request.body["messages"])
        check = self._connection.check_context
        if check or (check is None and is_long(request.body)):
            await self._check_context(request.body)
        return request

    async def prepare_fit(
        self,
        messages: Sequence[Mapping[str, Any]],
        reserve: int | None,
        sampling: Mapping[str, Any],
    ) -> list[int]:
        """Return the indices of the messages that ``fit_messages`` keeps."""
        connection = self._connection
        request = await self._request_for_chat(messages, sampling)
        room = room_for_prompt(await self._features(), reserve, request.body)
        kept, tokens = await self._run(fit_chat(request.body, room.limit, connection.tokens))
        connection.refuse_overflow(tokens, room)
        return kept

    async def prepare_completion(self, prompt: str, sampling: Mapping[str, Any]) -> Request:
        """Return the request for the continuation of a text, for ``stream_deltas``."""
        self._connection.warn_of_misspelling(sampling)
        model = sampling.get("model") or await self._model()
        engine = await self._engine(completion_depends_on_engine(sampling))
        return completion_request(model, prompt, sampling, engine)

    async def stream_deltas(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Send a generation and yield what its events add to the answer.

        Raises:
            MlxcelStreamError: The answer broke off, or was no answer.
            openai.APIError: The server refused the request or could not be reached.
        """
        connection = self._connection
        response = await self._open("POST", request.route, request.body)
        stream = request.stream()
        try:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise MlxcelStreamError(await self._not_a_stream(response))
            pieces = response.aiter_bytes()
            async for piece in pieces:
                for delta in stream.feed(piece):
                    yield delta
                if stream.done:
                    if keeps_alive(response):
                        await self._drain(pieces)
                    return
            stream.close()
        except httpx.TransportError as error:
            await asyncio.sleep(connection.settle_seconds)
            stream.close(*connection.broken(error))
        finally:
            await _close(response)

    async def _request_for_chat(self, messages: Messages, sampling: Mapping[str, Any]) -> Request:
        model = sampling.get("model") or await self._model()
        features = await self.features if chat_depends_on_server(messages, sampling) else None
        return chat_request(model, messages, sampling, features)

    async def _check_context(self, body: Mapping[str, Any]) -> None:
        """Refuse a chat that does not fit, where this is wanted and not known to be needless."""
        connection = self._connection
        room = room_to_check(await self._features(), connection.check_context, body)
        if room is not None:
            tokens = await self._run(count_chat(body, connection.tokens))
            connection.refuse_overflow(tokens, room)

    async def _engine(self, matters: bool) -> str | None:
        """Return what serves the model, None if it does not matter."""
        return (await self._features()).engine if matters else None

    async def _run(self, flow: Flow[T]) -> T:
        """Make the requests that a flow asks for, and return what it has found out."""
        answer: Any = None
        while True:
            try:
                ask = flow.send(answer)
            except StopIteration as end:
                return cast("T", end.value)
            answer = await self._answer(ask)

    async def _answer(self, ask: Ask) -> Any:
        """Return the JSON that a flow asks for, or the failure that it expects."""
        method = "GET" if ask.body is None else "POST"
        answer = await self._last_attempt(method, ask.path, ask.body)
        if isinstance(answer, httpx.Response):
            return await self._json(answer, method, ask.path)
        if answer.status in ask.expected:
            return answer
        raise self._connection.error(answer, method, ask.path) from answer.cause

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that a route answers."""
        response = await self._open(method, path, body)
        return await self._json(response, method, path)

    async def _call_if_there(self, path: str) -> Any:
        """Return the JSON that a route answers, None where the server does not have it."""
        answer = await self._attempt("GET", path, None)
        if isinstance(answer, Failure):
            return self._connection.absent(answer, path)
        try:
            return await self._json(answer, "GET", path)
        except MlxcelError:
            return None

    async def _json(self, response: httpx.Response, method: str, path: str) -> Any:
        connection = self._connection
        try:
            return json.loads(await self._read(response))
        except httpx.TransportError as error:
            raise connection.error(connection.failure(error), method, path) from error
        except (ValueError, RecursionError):
            raise MlxcelError(connection.not_json(path)) from None

    async def _open(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        """Return a response of status 200 whose body has not been read."""
        answer = await self._last_attempt(method, path, body)
        if isinstance(answer, Failure):
            raise self._connection.error(answer, method, path) from answer.cause
        return answer

    async def _last_attempt(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> httpx.Response | Failure:
        """Send a request as often as it may be sent, and return what came of it in the end."""
        retries = Retries(self._connection.max_retries)
        while True:
            answer = await self._attempt(method, path, body)
            if isinstance(answer, httpx.Response):
                return answer
            delay = retries.delay(answer)
            if delay is None:
                return answer
            await asyncio.sleep(delay)

    async def _attempt(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> httpx.Response | Failure:
        await self.start()
        connection = self._connection
        request = connection.request(method, path, body)
        try:
            transport = await self._pools.transport(connection.endpoint)
            response = await transport.handle_async_request(request)
            if response.status_code == 200:
                return response
            text = await self._read(response)
        except httpx.TransportError as error:
            await asyncio.sleep(connection.settle_seconds)
            return connection.failure(error)
        where = str(connection.endpoint)
        return from_status(response.status_code, response.headers, text, where)

    async def _read(self, response: httpx.Response) -> bytes:
        try:
            return b"".join([piece async for piece in response.aiter_bytes()])
        finally:
            await _close(response)

    async def _not_a_stream(self, response: httpx.Response) -> str:
        content_type = response.headers.get("content-type", "")
        return self._connection.not_a_stream(content_type, await anext(response.aiter_bytes(), b""))

    async def _drain(self, pieces: AsyncIterator[bytes]) -> None:
        """Read what follows ``[DONE]``, so that the connection can be used again.

        A server that sends nothing more, nor ends the response, must not hold up the answer.
        """
        with contextlib.suppress(httpx.TransportError, TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await anext(pieces, None)


async def _close(response: httpx.Response) -> None:
    """Close a response, also in a task that is cancelled again while it does so."""
    if not response.is_closed:
        hang_up(response)
        await asyncio.shield(response.aclose())
