"""``LLM``: one language model, served by a process of its own or by a running server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar, Unpack, overload

import httpx

from .base_client import BaseClient
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
from .transport.connection import Connection
from .transport.lifecycle import closed_on_failure
from .transport.sync_driver import SyncDriver

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

__all__ = ["LLM"]

Message = TypeVar("Message", bound=Mapping[str, Any])
T = TypeVar("T")


class LLM(BaseClient):
    """A language model on this machine, or on a server.

    Starts a server for ``model`` on first use (managed mode), or talks to the one at ``base_url``
    or ``socket`` (connect mode). With none of them, ``MLXCEL_BASE_URL``, ``MLXCEL_SOCKET`` and
    ``MLXCEL_MODEL`` are looked up. May be used from many threads at once.

    Args:
        model: Model to start a server with: a repository id or a directory for mlxcel, a .gguf
            file, or "embedded" for a small built-in model.
        base_url: Address of a running server, with or without /v1; unix:///path too.
        socket: Unix socket of a running server; in managed mode, the path to bind.
        api_key: Key of the server; MLXCEL_API_KEY if not given.
        default_headers: Headers to send with every request to the server.
        session: Name of the conversation, by which balancers keep it on one server; each chat or
            completion can name another.
        verify: Whether to check the certificate of an https server, or the path of the authorities
            to trust.
        client_cert: Path of the certificate to present to an https server.
        client_key: Path of its key, if that is in a separate file.
        served_model: Which of several served models to use; discovered if not given.
        timeout: Longest silence of the server until an answer begins, in seconds; 600 if not given.
            Reading a long prompt takes a while. An httpx.Timeout sets connect_timeout, too.
        connect_timeout: Longest time until a connection is made, in seconds.
        token_timeout: Longest time from one token to the next, in seconds; timeout if not given.
        total_timeout: Longest time for a request and all of its answer, in seconds; no limit if not
            given.
        max_retries: How often to resend a request that the server has not started to process.
        check_context: Whether to refuse a prompt that does not fit into the context instead of
            sending it; by default where the server would silently drop its beginning.
        merge_messages: Whether to join messages of one role that follow each other, and to put the
            system message before the first question; by default once the chat template has refused
            them.
        transport: An ``httpx`` transport to use instead of connecting, for tests; not with
            ``model``.
        options: The options above, and fields of ``ServerOptions`` for the server that is started:
            ``binary``, ``host``, ``port``, ``ctx_size``, ``parallel``, ``startup_timeout`` and
            more.

    Raises:
        MlxcelError: The arguments contradict each other, name no server, or one is unknown.

    Examples:
        >>> from mlxcel_integrations import LLM
        >>> with LLM(model="embedded") as llm:
        ...     answer = llm.chat("What is the capital of France?", max_tokens=8)
        >>> "Paris" in answer
        True
    """

    _transport_class = httpx.BaseTransport

    def _use(self, connection: Connection, transport: Any) -> None:
        super()._use(connection, transport)
        self._drivers = {each: SyncDriver(each, transport) for each in connection.servers}
        self._driver = self._drivers[connection]
        self._embedder = self._drivers[connection.embedding]
        self._openai: openai.OpenAI | None = None

    def start(self) -> Self:
        """Start the managed server now instead of on first use; does nothing in connect mode.

        With ``embedding_model``, that of a second server, too.

        Raises:
            MlxcelServerError: It did not start.
            MlxcelTimeoutError: It was not ready in time.
        """
        for connection in self._connection.starting_together:
            self._drivers[connection].start()
        return self

    def close(self) -> None:
        """Close all connections and give the managed server back; it stops with its last user."""
        # Whatever closing one of them raises, the others are closed, too.
        with contextlib.ExitStack() as closing:
            for driver in self._drivers.values():
                closing.callback(driver.close)
            if self._openai is not None:
                closing.callback(self._openai.close)

    def __enter__(self) -> Self:
        with closed_on_failure(self.close):
            return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> NoReturn:
        raise MlxcelError("LLM is synchronous: use `with`, or AsyncLLM for `async with`.")

    async def __aexit__(self, *error: object) -> None:
        """Let ``async with`` get as far as ``__aenter__``, which says what to use instead."""

    def generate(self, prompt: str, **sampling: Unpack[CompletionKeywords]) -> str:
        """Return the continuation of a text, without a chat template.

        Args:
            prompt: The text.
            sampling: Fields of ``SamplingParams``; others are forwarded to the server.

        Returns:
            The new text.
        """
        return fold(self._complete(prompt, sampling)).text

    def stream(self, prompt: str, **sampling: Unpack[CompletionKeywords]) -> Iterator[str]:
        """Yield the continuation of a text as it is generated."""
        for delta in self._complete(prompt, sampling):
            if delta.text:
                yield delta.text

    @overload
    def chat(
        self,
        messages: Messages,
        *,
        schema: None = None,
        show_schema: bool = True,
        max_attempts: int = MAX_ATTEMPTS,
        **sampling: Unpack[ChatKeywords],
    ) -> str: ...
    @overload
    def chat(
        self,
        messages: Messages,
        *,
        schema: type[T],
        show_schema: bool = True,
        max_attempts: int = MAX_ATTEMPTS,
        **sampling: Unpack[ChatKeywords],
    ) -> T: ...
    @overload
    def chat(
        self,
        messages: Messages,
        *,
        schema: Any,
        show_schema: bool = True,
        max_attempts: int = MAX_ATTEMPTS,
        **sampling: Unpack[ChatKeywords],
    ) -> Any: ...
    def chat(
        self,
        messages: Messages,
        *,
        schema: Any = None,
        show_schema: bool = True,
        max_attempts: int = MAX_ATTEMPTS,
        **sampling: Unpack[ChatKeywords],
    ) -> Any:
        """Return the answer to a conversation.

        Args:
            messages: OpenAI messages in any iterable, or one user message as plain text.
            schema: What the answer must look like: a Pydantic model, a dataclass, a
                ``TypedDict``, an ``Enum``, a ``Literal``, another type of data, or a JSON schema.
            show_schema: Whether to show the schema to the model, at the end of the last message.
            max_attempts: How often to ask for an object. After an answer that did not fit, or did
                not end, the model is told what was wrong.
            sampling: Fields of ``SamplingParams``; others are forwarded to the server.
                ``bounded=False`` sends the schema without limits for texts, lists and numbers
                that have none. With ``reasoning=True``, or an effort such as ``"low"``, the model
                thinks first, also before an answer with a schema.

        Returns:
            The text of the answer, without the model's thinking; with ``schema``, the object.

        Raises:
            StructuredOutputTruncated: The answer was cut before its JSON ended.
            StructuredOutputError: The answer does not fit the schema.
        """
        __tracebackhide__ = True
        reply = self.complete_chat(
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
    ) -> Iterator[str]: ...
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
    ) -> Iterator[T]: ...
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
    ) -> Iterator[Any]: ...
    def chat_stream(
        self,
        messages: Messages,
        *,
        schema: Any = None,
        show_schema: bool = True,
        max_attempts: int = MAX_ATTEMPTS,
        progress: Callable[[PromptProgress], object] | None = None,
        **sampling: Unpack[ChatKeywords],
    ) -> Iterator[Any]:
        """Yield the answer to a conversation as it is generated.

        With ``schema``, yield objects that fill up: a field that has not arrived is None or has
        its default, and no validator has run. The last object is complete and valid. With a
        further attempt (``max_attempts``), the objects begin anew.

        Args:
            messages: As for ``chat``.
            schema: As for ``chat``.
            show_schema: As for ``chat``.
            max_attempts: As for ``chat``.
            progress: Called with each progress of the prompt that the server reports before the
                first token. Sets ``return_progress``; servers that report none are not asked.
            sampling: As for ``chat``.

        Examples:
            >>> from mlxcel_integrations import LLM
            >>> shares = []
            >>> with LLM(model="embedded") as llm:
            ...     for text in llm.chat_stream(
            ...         "What is the capital of France?",
            ...         max_tokens=8,
            ...         progress=lambda progress: shares.append(progress.share),
            ...     ):
            ...         print(text, end="")
            Paris.
            >>> shares[-1]
            1.0
        """
        fields = asking_for_progress(sampling, progress)
        structured = structured_chat(messages, fields, schema, show_schema)
        attempts = Attempts(max_attempts)
        while True:
            with attempts:
                answers = structured.answer_stream()
                for delta in self._chat(*structured.request(attempts.fields)):
                    tell_progress(delta, progress)
                    yield from answers.feed(delta)
                yield from answers.close()
                return

    def complete_chat(
        self,
        messages: Messages,
        *,
        schema: Any = None,
        show_schema: bool = True,
        max_attempts: int = MAX_ATTEMPTS,
        **sampling: Unpack[ChatKeywords],
    ) -> ChatReply:
        """Return the answer to a conversation with everything the server reports about it.

        With ``schema``, the object is in ``parsed``, and the token counts are those of all
        attempts together.
        """
        __tracebackhide__ = True
        structured = structured_chat(messages, sampling, schema, show_schema)
        attempts = Attempts(max_attempts)
        while True:
            with attempts:
                deltas = self._chat(*structured.request(attempts.fields))
                return structured.read(attempts.with_total_usage(fold(deltas)))

    def decide(
        self,
        messages: Messages,
        labels: Iterable[str],
        *,
        calibrate: Prior = False,
        **sampling: Unpack[ChatKeywords],
    ) -> Decision:
        """Return the most likely of some labels, and the probability of each.

        The server constrains the answer to the labels, and its log probabilities tell how likely
        each was: one request is enough where labels part early or the model is sure. Labels that
        share their first tokens and at least 1 % of the probability take another one.

        Args:
            messages: As for ``chat``. The labels are shown at the end of the last message.
            labels: The labels: texts, none of them twice.
            calibrate: Whether to divide by the prior, which is how likely the model finds each
                label for the question ``"N/A"``, and takes another request; or the conversation
                by which to measure it.
            sampling: Fields of ``SamplingParams`` that do not contradict a decision.

        Raises:
            MlxcelError: The labels are none, too many, not texts, or have duplicates; or the
                server sends no log probabilities.

        Examples:
            >>> from mlxcel_integrations import LLM
            >>> with LLM(model="embedded") as llm:
            ...     decision = llm.decide("Is Paris in France?", ["yes", "no"])
            >>> decision.label
            'yes'
            >>> round(sum(decision.probabilities.values()), 3)
            1.0
        """
        check_program_goes_on()
        from .structured.decision import Deciding

        deciding = Deciding(messages, labels, calibrate, sampling)
        deciding.alternatives = self.features.alternatives
        for messages, fields in deciding.requests():
            deciding.read(fold(self._chat(messages, fields)))
        return deciding.decision()

    def classify(self, text: str, labels: Labels) -> Decision:
        """Return the label whose examples are nearest to a text, by their embeddings.

        Small models for embeddings are often better at this than small chat models. The
        probabilities only rank the labels: they are made from similarities.

        Args:
            text: The text; what the model for embeddings cannot take is cut off.
            labels: The labels, each with texts that it fits; or labels that are texts themselves.
                The examples of the last call are not embedded again.

        Raises:
            MlxcelError: The labels are none, too many, not texts, or have duplicates; or the
                server has no model for embeddings.

        Examples:
            >>> from mlxcel_integrations import LLM
            >>> teams = {
            ...     "billing": ["I was charged twice.", "Where is my invoice?"],
            ...     "technical": ["The app crashes.", "The page shows an error."],
            ... }
            >>> with LLM(model="embedded") as llm:
            ...     decision = llm.classify("There are two payments on my card.", teams)
            >>> decision.label
            'billing'
        """
        check_program_goes_on()
        from .structured.nearest_label import ByEmbeddings

        return self._embedder.run(nearest_label(self._vectors, ByEmbeddings(text, labels)))

    def models(self) -> list[str]:
        """Return the names of all served models."""
        return self._driver.run(list_models())

    @property
    def model(self) -> str:
        """Name of the model in use: given, or discovered once."""
        return self._driver.run(discover_model(self._connection))

    @property
    def features(self) -> ServerFeatures:
        """What the server can do; discovered once."""
        return self._driver.run(discover_features(self._connection))

    def tokenize(self, text: str, add_special: bool = False) -> list[int]:
        """Return the token ids of a text.

        Args:
            text: The text.
            add_special: Whether to add the tokens that begin a prompt.
        """
        return self._driver.run(tokenize(text, add_special))

    def detokenize(self, tokens: Iterable[int]) -> str:
        """Return the text of token ids."""
        return self._driver.run(detokenize(tokens))

    @overload
    def count_tokens(self, text: str) -> int: ...

    @overload
    def count_tokens(self, text: list[str]) -> list[int]: ...

    def count_tokens(self, text: str | list[str]) -> int | list[int]:
        """Return the number of tokens of a text, or of each text of a list.

        Many texts are counted in one request where the server can do that, and recent counts are
        cached.

        Args:
            text: One text, or a list of them.

        Returns:
            The number of ids that ``tokenize`` gives; for a list, one number for each text.
        """
        return self._driver.run(count_tokens(self._connection, text))

    def counts_at_once(self) -> bool:
        """Return whether many texts can be counted in one request; tried once."""
        return self._driver.run(can_count_at_once(self._connection.tokens))

    def count_message_tokens(
        self,
        messages: Messages,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **sampling: Unpack[PromptKeywords],
    ) -> int:
        """Return the number of tokens of the prompt that a conversation becomes.

        It equals the ``usage["prompt_tokens"]`` of the answer. ``counting_route`` names the route
        that counted.

        Args:
            messages: As for ``chat``.
            tools: OpenAI tools that go with them.
            sampling: Other fields of the request, such as ``chat_template_kwargs``.

        Raises:
            MlxcelError: The server has no route that counts messages.
        """
        fields = {**sampling, "tools": tools}
        return self._driver.run(count_messages(self._connection, messages, fields))

    def warm(
        self,
        messages: Messages,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **sampling: Unpack[PromptKeywords],
    ) -> PromptCost:
        """Read a prompt ahead, so that a chat that begins with it is answered at once.

        Args:
            messages: The beginning of later conversations: a system message, documents, examples.
            tools: OpenAI tools that go with them.
            sampling: Other fields that change the prompt, such as ``chat_template_kwargs``.

        Returns:
            What it cost. With ``keep_prompts``, a server that is started again still has it.

        Examples:
            >>> from mlxcel_integrations import LLM
            >>> rules = {"role": "system", "content": "You answer in one word. " * 20}
            >>> with LLM(model="embedded") as llm:
            ...     first, second = llm.warm([rules]), llm.warm([rules])
            >>> first.tokens_reused < second.tokens_reused
            True
        """
        check_program_goes_on()
        from .protocol.tokens.prompt_cost import PromptCost, reading_fields

        began = time.monotonic()
        deltas = self._chat(messages, reading_fields({**sampling, "tools": tools}))
        return PromptCost.of(fold(deltas), time.monotonic() - began)

    def explain_cache(
        self,
        messages_before: Messages,
        messages_after: Messages,
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        tools_before: Sequence[Mapping[str, Any]] | None = None,
        **sampling: Unpack[PromptKeywords],
    ) -> SharedPrefix:
        """Compare the prompts of two conversations, to see what a server need not read again.

        Args:
            messages_before: The conversation that the server has read.
            messages_after: The one that comes next.
            tools: OpenAI tools of both.
            tools_before: Those of the first, if it has others; ``[]`` for none.
            sampling: Other fields of both that change the prompt.

        Returns:
            The tokens that are reused, the place where the prompts part, and the message it is in.

        Raises:
            MlxcelError: The server does not show its prompts, as mlxcel up to 0.4.2, or there are
                pictures or sounds among the messages.

        Examples:
            >>> from mlxcel_integrations import LLM
            >>> def chat(day):
            ...     return [
            ...         {"role": "system", "content": f"Today is {day}."},
            ...         {"role": "user", "content": "Hello!"},
            ...     ]
            >>> with LLM(model="embedded") as llm:
            ...     shared = llm.explain_cache(chat("Monday"), chat("Tuesday"))
            >>> shared.cause, shared.message
            ('message', 0)
        """
        fields = {**sampling, "tools": tools}
        return self._driver.run(
            compare_messages(
                self._connection, messages_before, messages_after, fields, tools_before
            )
        )

    def fit_messages(
        self,
        messages: Iterable[Message],
        reserve: int | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **sampling: Unpack[PromptKeywords],
    ) -> list[Message]:
        """Return the messages without the oldest ones that do not fit into the context.

        System messages at the beginning and the last user message stay, and tool results stay
        with their calls.

        Args:
            messages: As for ``chat``.
            reserve: Tokens to leave for the answer; ``max_tokens`` if not given, or else a
                quarter of the context.
            tools: OpenAI tools that go with them.
            sampling: Other fields of the request, such as ``chat_template_kwargs``.

        Raises:
            openai.BadRequestError: Even the last turn alone does not fit.
            MlxcelError: The server does not report its context size, or cannot count.
        """
        fields = {**sampling, "tools": tools}
        given: Any = as_list(messages)
        kept = self._driver.run(fit_messages(self._connection, given, reserve, fields))
        return [given[index] for index in kept]

    def embed(
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
        """Return the vectors of texts.

        Many texts are sent in several requests, as many at once as the server has slots.

        Args:
            texts: The texts, which are sent unchanged.
            model: Name of a served model; chosen by its capabilities if not given.
            prefix: Prefix of each text, for models that expect one such as ``"query: "``.
            instruction: What the vectors are for; used by some models of mlxcel.
            dimensions: Length of the vectors, for models that can shorten them.
            batch_size: Maximum number of texts in a request; fewer if they are long.
            skip_empty: Whether an empty text gets a vector of zeros, which is similar to nothing,
                instead of raising an error.
            truncate: Whether to cut a text that has more tokens than the model embeds, instead of
                raising an error.
            show_progress: Whether to show a progress bar.

        Returns:
            One vector for each text, in the same order.

        Raises:
            MlxcelError: A text is empty, too long or not a string; the server has no model for
                embeddings, or its vectors differ in length.
            openai.APIError: The server refused the request or could not be reached.
        """
        check_program_goes_on()
        from .protocol.vectors.embeddings import embed_texts

        texts = as_strings("texts", texts)
        with progress_bar(show_progress, len(texts), "Embedding") as done:
            return self._embedder.run(
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

    def rerank(
        self,
        query: str,
        documents: Iterable[str],
        top_n: int | None = None,
        *,
        model: str | None = None,
        instruction: str | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> list[RankedDocument]:
        """Return documents by their relevance to a query, the most relevant first.

        Args:
            query: The text to compare the documents with.
            documents: The texts of the documents.
            top_n: How many to return; all if not given.
            model: Name of a served model; chosen by its capabilities if not given.
            instruction: What counts as relevant; used by some models of mlxcel.
            batch_size: Maximum number of documents in a request; fewer if they are long.

        Returns:
            Each with its index and its score; equally relevant ones in their original order.

        Raises:
            MlxcelError: The server has no model for reranking, or its answer is not a ranking.
            openai.APIError: The server refused the request or could not be reached.
        """
        check_program_goes_on()
        from .protocol.vectors.rerank import rerank_documents

        return self._driver.run(
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
    def openai_client(self) -> openai.OpenAI:
        """The ``openai`` client for the same server, for what this class does not offer.

        It makes no retries, and lives as long as this object.
        """
        check_program_goes_on()
        self.start()
        if self._openai is None:
            from .transport.openai_clients import sync_client

            self._openai = sync_client(self._connection, self._transport)
        return self._openai

    def _complete(self, prompt: str, sampling: Mapping[str, Any]) -> Iterator[Delta]:
        return self._driver.stream(prepare_completion(self._connection, prompt, sampling))

    def _chat(self, messages: Messages, sampling: Mapping[str, Any]) -> Iterator[Delta]:
        return self._driver.stream(prepare_chat(self._connection, messages, sampling))
