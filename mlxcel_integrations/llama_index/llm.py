"""``Mlxcel``: chat and text completion for LlamaIndex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
)
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW, DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from pydantic import Field

from ..adapters.generation import ChatAdapter
from ..protocol.answers.reply import fold
from .mlxcel_errors import llama_index_errors
from .predict import Predict
from .prompt_progress import with_progress_event
from .reading_ahead import ReadingAhead
from .replies import ChatChunks, CompletionChunks, to_chat_response, to_completion_response
from .streams import async_instrumented, instrumented
from .token_counting import TokenCounting
from .tools import ToolCalling

__all__ = ["Mlxcel"]


class Mlxcel(
    Predict,
    ToolCalling,
    TokenCounting,
    ReadingAhead,
    ChatAdapter,
    CustomLLM,
    FunctionCallingLLM,
    defer_build=False,
):
    """A model on this machine, or on a server.

    Starts a server for ``model`` on first use, or talks to the one at ``base_url`` or ``socket``.
    With none of them, ``MLXCEL_BASE_URL``, ``MLXCEL_SOCKET`` and ``MLXCEL_MODEL`` are looked up.
    Creating one does no I/O; several with the same ``model`` and options share one server.

    ``chat`` applies the chat template of the model, ``complete`` continues a text as it is. All
    answers are streamed on the wire, so that leaving a loop or cancelling a task frees the server
    at once.

    Examples:
        >>> from llama_index.core.llms import ChatMessage
        >>> from mlxcel_integrations.llama_index import Mlxcel
        >>> with Mlxcel(model="embedded", max_tokens=8) as llm:
        ...     answer = llm.chat([ChatMessage("What is the capital of France?")])
        >>> "Paris" in answer.message.content
        True
    """

    context_window: int | None = Field(
        default=None,
        gt=0,
        description="Context of one request in tokens; the server's own if not given.",
    )

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex stores such a model."""
        return "mlxcel"

    @property
    def metadata(self) -> LLMMetadata:
        """The facts that LlamaIndex needs before it uses a model.

        They are requested from the server once, on first use; ``astart`` does so without blocking.
        """
        features = self._llm.features
        window = self.context_window or features.context_size or DEFAULT_CONTEXT_WINDOW
        return LLMMetadata(
            context_window=window,
            # LlamaIndex subtracts it from the room for the prompt.
            num_output=min(self.max_tokens or DEFAULT_NUM_OUTPUTS, window // 4),
            is_chat_model=True,
            # Where the chat template knows no tools, they are described in a message.
            is_function_calling_model=True,
            model_name=self._llm.model,
        )

    def to_payload(self) -> dict[str, Any]:
        """Return the facts about the model that events carry, without asking the server."""
        sampling = {name: v for name, v in self._default_sampling.items() if name != "extra_body"}
        name = self._connection.model_to_send or self.model or "unknown"
        # Some handlers read ``model``, others ``model_name``.
        names = {"class_name": self.class_name(), "model": name, "model_name": name}
        return {**names, **sampling}

    async def astart(self) -> Self:
        """Start the managed server and learn its features, without blocking the event loop.

        ``metadata`` needs no request from then on.
        """
        await super().astart()
        await self._async_llm.features
        await self._async_llm.model
        return self

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Return the answer to a conversation.

        Args:
            messages: The conversation.
            **kwargs: Fields of the request, which override those of the constructor:
                ``SamplingParams``, ``reasoning``, ``tools`` and more.

        Raises:
            openai.APIError: The server refused the request or could not be reached.
            MlxcelError: A message cannot be sent, or the answer broke off.
        """
        deltas = self._llm._chat(*self._to_openai(messages, kwargs))
        with llama_index_errors:
            return to_chat_response(fold(map(with_progress_event, deltas)))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Return the answer to a conversation; see ``chat``."""
        deltas = self._async_llm._chat(*self._to_openai(messages, kwargs))
        with llama_index_errors:
            return to_chat_response(fold([with_progress_event(delta) async for delta in deltas]))

    @instrumented(llm_chat_callback)
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Yield the answer to a conversation as it is generated; see ``chat``.

        Each chunk has the message so far, and its new text in ``delta``. The last one has the
        token counts.
        """
        return ChatChunks().stream(self._llm._chat(*self._to_openai(messages, kwargs)))

    @async_instrumented(llm_chat_callback)
    def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Return a generator of the answer to a conversation; see ``stream_chat``."""
        return ChatChunks().astream(self._async_llm._chat(*self._to_openai(messages, kwargs)))

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Return the continuation of a text, without a chat template.

        Args:
            prompt: The text.
            formatted: Whether ``completion_to_prompt`` has been applied to it.
            **kwargs: Fields of the request, which override those of the constructor.

        Raises:
            openai.APIError: The server refused the request or could not be reached.
            MlxcelError: The answer broke off.
        """
        deltas = self._llm._complete(*self._completion(prompt, formatted, kwargs))
        with llama_index_errors:
            return to_completion_response(fold(map(with_progress_event, deltas)))

    @llm_completion_callback()
    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        """Return the continuation of a text; see ``complete``."""
        deltas = self._async_llm._complete(*self._completion(prompt, formatted, kwargs))
        with llama_index_errors:
            return to_completion_response(
                fold([with_progress_event(delta) async for delta in deltas])
            )

    @instrumented(llm_completion_callback)
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """Yield the continuation of a text as it is generated; see ``complete``.

        Each chunk has the text so far, and its new part in ``delta``. The last one has the token
        counts.
        """
        deltas = self._llm._complete(*self._completion(prompt, formatted, kwargs))
        return CompletionChunks().stream(deltas)

    @async_instrumented(llm_completion_callback)
    def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """Return a generator of the continuation of a text; see ``stream_complete``."""
        deltas = self._async_llm._complete(*self._completion(prompt, formatted, kwargs))
        return CompletionChunks().astream(deltas)

    def _completion(
        self, prompt: str, formatted: bool, call: dict[str, Any]
    ) -> tuple[str, dict[str, Any]]:
        """Return the prompt of a completion, and the fields of the request."""
        if not formatted and self.completion_to_prompt is not None:
            prompt = self.completion_to_prompt(prompt)
        return prompt, {**self._default_sampling, **call}
