"""A retrieval chain: find passages by keyword, put them into a prompt, ask the model."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableParallel, RunnablePassthrough
from pydantic import PrivateAttr

__all__ = ["KeywordRetriever", "Sources", "retrieval_chain"]

PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", "Answer the question in one short sentence from this text.\n\n{text}"),
        ("human", "{question}"),
    ]
)


class KeywordRetriever(BaseRetriever):
    """Passages by their words, best first: SQLite's full-text search ranks them by BM25.

    Args:
        passages: What to search.
        k: How many passages to return at most.
    """

    passages: Sequence[Document]
    k: int = 1
    _index: sqlite3.Connection = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Index the passages with their headings."""
        # Chains search in threads of their own.
        self._index = sqlite3.connect(":memory:", check_same_thread=False)
        self._index.execute(
            "CREATE VIRTUAL TABLE passage USING fts5(heading, text, tokenize=porter)"
        )
        self._index.executemany(
            "INSERT INTO passage(rowid, heading, text) VALUES (?, ?, ?)",
            (
                (number, passage.metadata["heading"], passage.page_content)
                for number, passage in enumerate(self.passages)
            ),
        )

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        words = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", query))
        if not words:
            return []
        rows = self._index.execute(
            "SELECT rowid FROM passage WHERE passage MATCH ? ORDER BY rank LIMIT ?", (words, self.k)
        )
        return [self.passages[number] for (number,) in rows]


class Sources(BaseCallbackHandler):
    """Tell of the passages of a chain as soon as they are found.

    Args:
        tell: Called with each passage.
    """

    def __init__(self, tell: Callable[[Document], None]) -> None:
        self._tell = tell

    def on_retriever_end(self, documents: Sequence[Document], **kwargs: Any) -> None:
        """Tell of the passages, before the model is asked."""
        for passage in documents:
            self._tell(passage)


def retrieval_chain(llm: BaseChatModel, retriever: BaseRetriever) -> Runnable[str, str]:
    """Return a chain from a question to its answer.

    Args:
        llm: What answers.
        retriever: What finds the passages.
    """
    found = RunnableParallel(text=retriever | _text, question=RunnablePassthrough())
    return found | PROMPT | llm | StrOutputParser()


def _text(passages: Sequence[Document]) -> str:
    return "\n\n".join(passage.page_content for passage in passages)
