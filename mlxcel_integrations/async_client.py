"""``AsyncLLM``: the twin of ``LLM`` for ``asyncio``; what is not about waiting stands there."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, overload
from weakref import WeakKeyDictionary

import httpx

from .client import Message, T
from .progress_bar import progress_bar
from .protocol.chat import chat_depends_on_server, chat_request, check_conversation
from .protocol.completions import completion_depends_on_engine, completion_request
from .protocol.context_window import fit_chat, is_long, room_for_prompt, room_to_check
from .protocol.embeddings import BATCH_SIZE, RankedDocument, embed_texts, rerank_documents
from .protocol.features import ServerFeatures, choose_model, read_features, read_models
from .protocol.message_tokens import count_chat
from .protocol.stream import ChatReply, Request, fold
from .protocol.timeouts import Timeouts
from .protocol.tokens import can_count_at_once, count_texts, read_text, read_tokens
from .secret import hidden, hidden_values
from .structured.request import Messages, ask
from .transport.async_driver import AsyncDriver
from .transport.connection import Connection
from .transport.tls import TLS

if TYPE_CHECKING:
    import openai

__all__ = ["AsyncLLM"]


class AsyncLLM(AsyncDriver):
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
        default_headers: Mapping[str, str] | None = None,
        session: str | None = None,
        verify: bool | str = True,
        client_cert: str | None = None,
        client_key: str | None = None,
        served_model: str | None = None,
        timeout: float | None = None,
        connect_timeout: float = 10.0,
        token_timeout: float | None = None,
        total_timeout: float | None = None,
        max_retries: int = 2,
        check_context: bool | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        **server_options: Any,
    ) -> None:
        # A traceback with locals shows what is given to a function, but this no longer.
        key, api_key = hidden(api_key), None
        headers, default_headers = hidden_values(default_headers), None
        connection = Connection(
            model,
            base_url=base_url,
            socket=socket,
            api_key=key,
            default_headers=headers,
            session=session,
            tls=TLS(verify, client_cert, client_key),
            served_model=served_model,
            timeouts=Timeouts(timeout, connect_timeout, token_timeout, total_timeout),
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
        super().__init__(connection, transport)
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
        return [model.id for model in read_models(await self._call("/v1/models"))]

    @property
    def model(self) -> Awaitable[str]:
        """Name of the model in use, to be awaited: given, or discovered once."""
        return self._model()

    async def _model(self) -> str:
        connection = self._connection
        if connection.name is None:
            served = read_models(await self._call("/v1/models"))
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
                await self._call("/v1/models"),
            )
        return connection.features

    async def tokenize(self, text: str, add_special: bool = False) -> list[int]:
        """Return the token ids of a text.

        Args:
            text: The text.
            add_special: Whether to add the tokens that begin a prompt.
        """
        body = {"content": text, "add_special": add_special}
        return read_tokens(await self._call("/tokenize", body))

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """Return the text of token ids."""
        return read_text(await self._call("/detokenize", {"tokens": list(tokens)}))

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

    async def counts_at_once(self) -> bool:
        """Tell whether many texts are counted in one request; found out once."""
        return await self._run(can_count_at_once(self._connection.tokens))

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

    async def embed(
        self,
        texts: Sequence[str],
        *,
        model: str | None = None,
        prefix: str = "",
        instruction: str | None = None,
        dimensions: int | None = None,
        batch_size: int = BATCH_SIZE,
        skip_empty: bool = False,
        show_progress: bool = False,
    ) -> list[list[float]]:
        """Return the vectors of texts.

        Many texts are sent in several requests, as many at once as the server has slots.

        Args:
            texts: The texts, which are sent as they are.
            model: Name of a served model; found by what the models can do if not given.
            prefix: Put in front of each text, for models that want one such as ``"query: "``.
            instruction: What the vectors are for; only some models that mlxcel serves read it.
            dimensions: How many numbers a vector is to have, for models that can be shortened.
            batch_size: Most texts in one request; long texts make it fewer.
            skip_empty: Whether an empty text gets a vector of zeros, which is similar to nothing,
                instead of an error.
            show_progress: Whether to show a bar.

        Returns:
            One vector for each text, in their order.

        Raises:
            MlxcelError: A text is empty, or no text; the server has no model for embeddings, or
                its vectors do not fit together.
            openai.APIError: The server refused the request or could not be reached.
        """
        with progress_bar(show_progress, len(texts), "Embedding") as done:
            return await self._run(
                embed_texts(
                    texts,
                    self._connection.vectors,
                    done,
                    model=model,
                    prefix=prefix,
                    instruction=instruction,
                    dimensions=dimensions,
                    batch_size=batch_size,
                    skip_empty=skip_empty,
                )
            )

    async def rerank(
        self,
        query: str,
        documents: Sequence[str],
        top_n: int | None = None,
        *,
        model: str | None = None,
        instruction: str | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> list[RankedDocument]:
        """Return documents by their relevance to a query, the most relevant first.

        Args:
            query: What is looked for.
            documents: The texts of the documents.
            top_n: How many to return; all if not given.
            model: Name of a served model; found by what the models can do if not given.
            instruction: What relevant means; only some models that mlxcel serves read it.
            batch_size: Most documents in one request; long ones make it fewer.

        Returns:
            Each with its index and its score; equally relevant ones in their order.

        Raises:
            MlxcelError: The server has no model for reranking, or its answer is no ranking.
            openai.APIError: The server refused the request or could not be reached.
        """
        return await self._run(
            rerank_documents(
                query,
                documents,
                self._connection.vectors,
                model=model,
                instruction=instruction,
                top_n=top_n,
                batch_size=batch_size,
            )
        )

    @property
    def openai_client(self) -> openai.AsyncOpenAI:
        """The ``openai`` client for the same server, for what this class does not offer.

        It does not retry by itself, and belongs to the running event loop. In managed mode,
        ``start`` must have been awaited.
        """
        loop = asyncio.get_running_loop()
        if loop not in self._openai:
            from .transport.openai_clients import async_client

            self._openai[loop] = async_client(self._connection)
        return self._openai[loop]

    async def close(self) -> None:
        """Close all connections and give the managed server back; it stops with its last user."""
        client = self._openai.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()
        await super().close()

    async def prepare_chat(self, messages: Messages, sampling: Mapping[str, Any]) -> Request:
        """Return the request for an answer to a conversation, for ``stream_deltas``."""
        self._connection.warn_of_misspelling(sampling)
        request = await self._request_for_chat(messages, sampling)
        check_conversation(request.body["messages"])
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
