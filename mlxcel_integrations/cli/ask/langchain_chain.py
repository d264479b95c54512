"""LangChain chain of a retriever, a prompt and a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableParallel, RunnablePassthrough

from ...langchain import ChatMlxcel
from ...protocol.answers.prompt_progress import PromptProgress
from .passages import Passage
from .prompt import INSTRUCTION

__all__ = ["PassageRetriever", "stream_answer"]

_PROMPT = ChatPromptTemplate.from_messages(
    [("system", INSTRUCTION + "\n\n{text}"), ("human", "{question}")]
)


class PassageRetriever(BaseRetriever):
    """A retriever of passages as LangChain documents.

    Args:
        find: Returns the passages for a question, best first.
    """

    find: Callable[[str], Sequence[Passage]]

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [
            Document(passage.text, metadata={"source": passage.source, "place": passage.place})
            for passage in self.find(query)
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
    with ChatMlxcel(base_url=base_url, return_progress=True, **options) as llm:
        yield from _stream(llm, PassageRetriever(find=find), question, progress)


def _stream(
    llm: BaseChatModel,
    retriever: BaseRetriever,
    question: str,
    progress: Callable[[PromptProgress], object],
) -> Iterator[tuple[str, int]]:
    found = RunnableParallel(text=retriever | _text, question=RunnablePassthrough())
    chain = found | _PROMPT | llm
    for chunk in chain.stream(question):
        for report in chunk.response_metadata.get("prompt_progress", ()):
            progress(PromptProgress(**report))
        usage = chunk.usage_metadata if isinstance(chunk, AIMessageChunk) else None
        yield chunk.text, usage["output_tokens"] if usage else 0


def _text(documents: Sequence[Document]) -> str:
    return "\n\n".join(document.page_content for document in documents)
