"""``AsyncLLM``: ``LLM`` for ``asyncio``."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, Unpack, overload
from weakref import WeakKeyDictionary

import httpx

from .base_client import BaseClient
from .client import Message, T
from .errors import MlxcelError, check_program_goes_on
from .operations import (
    compare_messages,
    count_messages,
    count_tokens,
    detokenize,
    discover_features,
    discover_model,
    fit_messages,
    list_models,
    nearest_label,
    prepare_chat,
    prepare_completion,
    tokenize,
)
from .progress_bar import progress_bar
from .protocol.answers.delta import Delta, tell_progress
from .protocol.answers.reply import ChatReply, fold
from .protocol.arguments import as_strings
from .protocol.messages import Messages, as_list
from .protocol.sampling import asking_for_progress
from .protocol.tokens.tokenize import can_count_at_once
from .protocol.vectors.vector_models import BATCH_SIZE
from .structured.attempts import MAX_ATTEMPTS, Attempts
from .structured.request import content, structured_chat

# Imported here since constructors, which may be called in an event loop, would block it for as long
# as the import takes. What starts a server is imported by its start.
if sys.platform != "win32":  # pragma: no branch
    from . import embedded  # noqa: F401
    from .supervisor import leases  # noqa: F401
from .transport.async_driver import AsyncDriver
from .transport.connection import Connection
from .transport.lifecycle import aclosed_on_failure
from .transport.owned_generator import OwnedGenerator

# Decisions, embeddings and reranking are imported where they are used: most programs only chat.

if TYPE_CHECKING:
    import openai

    from .keywords import ChatKeywords, CompletionKeywords, PromptKeywords
    from .protocol.answers.prompt_progress import PromptProgress
    from .protocol.features import ServerFeatures
    from .protocol.tokens.prompt_cost import PromptCost
    from .protocol.tokens.shared_prefix import SharedPrefix
    from .protocol.vectors.rerank import RankedDocument
    from .structured.decision import Decision, Prior
    from .structured.nearest_label import Labels

__all__ = ["AsyncLLM"]


class AsyncLLM(BaseClient):
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
        Paris.
    """

    _transport_class = httpx.AsyncBaseTransport

    def _use(self, connection: Connection, transport: Any) -> None:
        super()._use(connection, transport)
        self._drivers = {each: AsyncDriver(each, transport) for each in connection.servers}
        self._driver = self._drivers[connection]
        self._embedder = self._drivers[connection.embedding]
        self._openai: WeakKeyDictionary[asyncio.AbstractEventLoop, openai.AsyncOpenAI] = (
            WeakKeyDictionary()
        )

    async def start(self) -> Self:
        """Start the managed server now instead of on first use; see ``LLM.start``."""
        for connection in self._connection.starting_together:
            await self._drivers[connection].start()
        return self

    async def close(self) -> None:
        """Close all connections and give the managed server back; it stops with its last user."""
        client = self._openai.pop(asyncio.get_running_loop(), None)
        async with contextlib.AsyncExitStack() as closing:
            for driver in self._drivers.values():
                closing.push_async_callback(driver.close)
            if client is not None:
                closing.push_async_callback(client.close)

    async def __aenter__(self) -> Self:
        async with aclosed_on_failure(self.close):
            return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __enter__(self) -> NoReturn:
        raise MlxcelError("AsyncLLM is asynchronous: use `async with`, or LLM for `with`.")

    def __exit__(self, *error: object) -> None:
        """Let ``with`` get as far as ``__enter__``, which says what to use instead."""

    async def generate(self, prompt: str, **sampling: Unpack[CompletionKeywords]) -> str:
        """Return the continuation of a text, without a chat template; see ``LLM.generate``."""
        deltas = self._complete(prompt, sampling)
        return fold([delta async for delta in deltas]).text

    async def stream(
        self, prompt: str, **sampling: Unpack[CompletionKeywords]
    ) -> AsyncIterator[str]:
        """Yield the continuation of a text as it is generated."""
        async with OwnedGenerator(self._complete(prompt, sampling)) as deltas:
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
        max_attempts: int = MAX_ATTEMPTS,
        **sampling: Unpack[ChatKeywords],
    ) -> str: ...
    @overload
    async def chat(
        self,
        messages: Messages,
        *,
        schema: type[T],
        show_schema: bool = True,
        max_attempts: int = MAX_ATTEMPTS,
        **sampling: Unpack[ChatKeywords],
    ) -> T: ...
    @overload
    async def chat(
        self,
        messages: Messages,
        *,
        schema: Any,
        show_schema: bool = True,
        max_attempts: int = MAX_ATTEMPTS,
        **sampling: Unpack[ChatKeywords],
    ) -> Any: ...
    async def chat(
        self,
        messages: Messages,
        *,
        schema: Any = None,
        show_schema: bool = True,
        max_attempts: int = MAX_ATTEMPTS,
        **sampling: Unpack[ChatKeywords],
    ) -> Any:
        """Return the answer to a conversation; see ``LLM.chat``."""
        __tracebackhide__ = True
        reply = await self.complete_chat(
            messages,
            schema=schema,
            show_schema=show_schema,
            max_attempts=max_attempts,
            **sampling,
        )
        return content(reply, schema)

    @overload
    def chat_stream(
        self,
        messages: Messages,
        *,
        schema: None = None,
        show_schema: bool = True,
        max_attempts: int = MAX_ATTEMPTS,
        progress: Callable[[PromptProgress], object] | None = None,
        **sampling: Unpack[ChatKeywords],
    ) -> AsyncIterator[str]: ...
    @overload
    def chat_stream(
        self,
        messages: Messages,
        *,
        schema: type[T],
        show_schema: bool = True,
        max_attempts: int = MAX_ATTEMPTS,
        progress: Callable[[PromptProgress], object] | None = None,
        **sampling: Unpack[ChatKeywords],
    ) -> AsyncIterator[T]: ...
    @overload
    def chat_stream(
        self,
        messages: Messages,
        *,
        schema: Any,
        show_schema: bool = True,
        max_attempts: int = MAX_ATTEMPTS,
        progress: Callable[[PromptProgress], object] | None = None,
        **sampling: Unpack[ChatKeywords],
    ) -> AsyncIterator[Any]: ...
    async def chat_stream(
        self,
        messages: Messages,
        *,
        schema: Any = None,
        show_schema: bool = True,
        max_attempts: int = MAX_ATTEMPTS,
        progress: Callable[[PromptProgress], object] | None = None,
        **sampling: Unpack[ChatKeywords],
    ) -> AsyncIterator[Any]:
        """Yield the answer to a conversation as it is generated; see ``LLM.chat_stream``."""
        fields = asking_for_progress(sampling, progress)
        structured = structured_chat(messages, fields, schema, show_schema)
        attempts = Attempts(max_attempts)
        while True:
            with attempts:
                answers = structured.answer_stream()
                chat = self._chat(*structured.request(attempts.fields))
                async with OwnedGenerator(chat) as deltas:
                    async for delta in deltas:
                        tell_progress(delta, progress)
                        for answer in answers.feed(delta):
                            yield answer
                for answer in answers.close():
                    yield answer
                return

    async def complete_chat(
        self,
        messages: Messages,
        *,
        schema: Any = None,
        show_schema: bool = True,
        max_attempts: int = MAX_ATTEMPTS,
        **sampling: Unpack[ChatKeywords],
    ) -> ChatReply:
        """Return the answer with everything known about it; see ``LLM.complete_chat``."""
        __tracebackhide__ = True
        structured = structured_chat(messages, sampling, schema, show_schema)
        attempts = Attempts(max_attempts)
        while True:
            with attempts:
                chat = self._chat(*structured.request(attempts.fields))
                return structured.read(
                    attempts.with_total_usage(fold([delta async for delta in chat]))
                )

    async def decide(
        self,
        messages: Messages,
        labels: Iterable[str],
        *,
        calibrate: Prior = False,
        **sampling: Unpack[ChatKeywords],
    ) -> Decision:
        """Return the most likely of some labels, with probabilities; see ``LLM.decide``."""
        check_program_goes_on()
        from .structured.decision import Deciding

        deciding = Deciding(messages, labels, calibrate, sampling)
        deciding.alternatives = (await self.features).alternatives
        for messages, fields in deciding.requests():
            chat = self._chat(messages, fields)
            deciding.read(fold([delta async for delta in chat]))
        return deciding.decision()

    async def classify(self, text: str, labels: Labels) -> Decision:
        """Return the label whose examples are nearest to a text; see ``LLM.classify``."""
        check_program_goes_on()
        from .structured.nearest_label import ByEmbeddings

        deciding = ByEmbeddings(text, labels)
        return await self._embedder.run(nearest_label(self._vectors, deciding))

    async def models(self) -> list[str]:
        """Return the names of all served models."""
        return await self._driver.run(list_models())

    @property
    def model(self) -> Awaitable[str]:
        """Name of the model in use, to be awaited: given, or discovered once."""
        return self._driver.run(discover_model(self._connection))

    @property
    def features(self) -> Awaitable[ServerFeatures]:
        """What the server can do, to be awaited; discovered once."""
        return self._driver.run(discover_features(self._connection))

    async def tokenize(self, text: str, add_special: bool = False) -> list[int]:
        """Return the token ids of a text; see ``LLM.tokenize``."""
        return await self._driver.run(tokenize(text, add_special))

    async def detokenize(self, tokens: Iterable[int]) -> str:
        """Return the text of token ids."""
        return await self._driver.run(detokenize(tokens))

    @overload
    async def count_tokens(self, text: str) -> int: ...

    @overload
    async def count_tokens(self, text: list[str]) -> list[int]: ...

    async def count_tokens(self, text: str | list[str]) -> int | list[int]:
        """Return the number of tokens of a text, or of each text; see ``LLM.count_tokens``."""
        return await self._driver.run(count_tokens(self._connection, text))

    async def counts_at_once(self) -> bool:
        """Return whether many texts are counted in one request; found out once."""
        return await self._driver.run(can_count_at_once(self._connection.tokens))

    async def count_message_tokens(
        self,
        messages: Messages,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **sampling: Unpack[PromptKeywords],
    ) -> int:
        """Return the tokens of a conversation's prompt; see ``LLM.count_message_tokens``."""
        fields = {**sampling, "tools": tools}
        return await self._driver.run(count_messages(self._connection, messages, fields))

    async def warm(
        self,
        messages: Messages,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **sampling: Unpack[PromptKeywords],
    ) -> PromptCost:
        """Read a prompt ahead; see ``LLM.warm``."""
        check_program_goes_on()
        from .protocol.tokens.prompt_cost import PromptCost, reading_fields

        began = time.monotonic()
        deltas = self._chat(messages, reading_fields({**sampling, "tools": tools}))
        return PromptCost.of(fold([delta async for delta in deltas]), time.monotonic() - began)

    async def explain_cache(
        self,
        messages_before: Messages,
        messages_after: Messages,
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        tools_before: Sequence[Mapping[str, Any]] | None = None,
        **sampling: Unpack[PromptKeywords],
    ) -> SharedPrefix:
        """Compare the prompts of two conversations; see ``LLM.explain_cache``."""
        fields = {**sampling, "tools": tools}
        return await self._driver.run(
            compare_messages(
                self._connection, messages_before, messages_after, fields, tools_before
            )
        )

    async def fit_messages(
        self,
        messages: Iterable[Message],
        reserve: int | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **sampling: Unpack[PromptKeywords],
    ) -> list[Message]:
        """Return the newest messages that fit into the context; see ``LLM.fit_messages``."""
        fields = {**sampling, "tools": tools}
        given: Any = as_list(messages)
        kept = await self._driver.run(fit_messages(self._connection, given, reserve, fields))
        return [given[index] for index in kept]

    async def embed(
        self,
        texts: Iterable[str],
        *,
        model: str | None = None,
        prefix: str = "",
        instruction: str | None = None,
        dimensions: int | None = None,
        batch_size: int = BATCH_SIZE,
        skip_empty: bool = False,
        truncate: bool = False,
        show_progress: bool = False,
    ) -> list[list[float]]:
        """Return the vectors of texts; see ``LLM.embed``."""
        check_program_goes_on()
        from .protocol.vectors.embeddings import embed_texts

        texts = as_strings("texts", texts)
        with progress_bar(show_progress, len(texts), "Embedding") as done:
            return await self._embedder.run(
                embed_texts(
                    texts,
                    self._vectors,
                    done,
                    model=model,
                    prefix=prefix,
                    instruction=instruction,
                    dimensions=dimensions,
                    batch_size=batch_size,
                    skip_empty=skip_empty,
                    truncate=truncate,
                )
            )

    async def rerank(
        self,
        query: str,
        documents: Iterable[str],
        top_n: int | None = None,
        *,
        model: str | None = None,
        instruction: str | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> list[RankedDocument]:
        """Return documents, the most relevant first; see ``LLM.rerank``."""
        check_program_goes_on()
        from .protocol.vectors.rerank import rerank_documents

        return await self._driver.run(
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

        It makes no retries, and belongs to the running event loop. In managed mode,
        ``start`` must have been awaited.
        """
        check_program_goes_on()
        self._connection.check_open()
        loop = asyncio.get_running_loop()
        if loop not in self._openai:
            from .transport.openai_clients import async_client

            self._openai[loop] = async_client(self._connection, self._transport)
        return self._openai[loop]

    def _complete(self, prompt: str, sampling: Mapping[str, Any]) -> AsyncGenerator[Delta, None]:
        return self._driver.stream(prepare_completion(self._connection, prompt, sampling))

    def _chat(self, messages: Messages, sampling: Mapping[str, Any]) -> AsyncGenerator[Delta, None]:
        return self._driver.stream(prepare_chat(self._connection, messages, sampling))
