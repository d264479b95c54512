"""LlamaIndex retriever, prompt and model, one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.instrumentation import (  # type: ignore[attr-defined]  # missing in __all__ there
    get_dispatcher,
)
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.prompts import ChatPromptTemplate
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from ...llama_index import Mlxcel, PromptProgressEvent
from ...protocol.answers.prompt_progress import PromptProgress
from .passages import Passage
from .prompt import INSTRUCTION

__all__ = ["PassageRetriever", "stream_answer"]

_PROMPT = ChatPromptTemplate(
    [
        ChatMessage(INSTRUCTION + "\n\n{text}", role=MessageRole.SYSTEM),
        ChatMessage("{question}", role=MessageRole.USER),
    ]
)


class PassageRetriever(BaseRetriever):
    """A retriever of passages as LlamaIndex nodes.

    Args:
        find: Returns the passages for a question, best first.
    """

    def __init__(self, find: Callable[[str], Sequence[Passage]]) -> None:
        super().__init__()
        self._find = find

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [
            NodeWithScore(
                node=TextNode(
                    text=passage.text,
                    metadata={"source": passage.source, "place": passage.place},
                )
            )
            for passage in self._find(query_bundle.query_str)
        ]


def stream_answer(
    base_url: str,
    find: Callable[[str], Sequence[Passage]],
    question: str,
    options: Mapping[str, Any],
    progress: Callable[[PromptProgress], object],
) -> Iterator[tuple[str, int]]:
    """Yield the pieces of an answer, each with the number of tokens so far, 0 if unknown.

    Args:
        base_url: Address of the server.
        find: Returns the passages for a question, best first.
        question: The question.
        options: Fields of the model's class.
        progress: Called with each report on the prompt's progress.
    """
    nodes = PassageRetriever(find).retrieve(question)
    text = "\n\n".join(found.text for found in nodes)
    with (
        _reporting(progress),
        Mlxcel(base_url=base_url, return_progress=True, **options) as llm,
    ):
        for reply in llm.stream_chat(_PROMPT.format_messages(text=text, question=question)):
            yield reply.delta or "", reply.additional_kwargs.get("completion_tokens", 0)


class _ProgressHandler(BaseEventHandler):
    progress: Callable[[PromptProgress], object]

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        if isinstance(event, PromptProgressEvent):
            report = PromptProgress(event.total, event.cache, event.processed, event.time_ms)
            self.progress(report)


@contextlib.contextmanager
def _reporting(progress: Callable[[PromptProgress], object]) -> Iterator[None]:
    """Pass the progress of prompts on."""
    handlers, handler = get_dispatcher().event_handlers, _ProgressHandler(progress=progress)
    handlers.append(handler)
    try:
        yield
    finally:
        handlers.remove(handler)
