"""``MlxcelRerank``: reranking for LangChain."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document

from ..adapters.rerank import RerankAdapter
from ..protocol.vectors.rerank import RankedDocument
from .error_translation import langchain_errors

__all__ = ["MlxcelRerank"]


class MlxcelRerank(RerankAdapter, BaseDocumentCompressor, defer_build=False):
    """Sorts documents by their relevance to a query, and keeps the best.

    Starts a server for ``model`` on first use, or talks to the one at ``base_url`` or ``socket``.
    Of several served models, uses the one that the server reports as made for reranking;
    ``served_model`` names another.
    """

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Return copies of the most relevant documents, the best first.

        Each has its score in ``metadata["relevance_score"]``; documents of the same score keep
        their order.

        Args:
            documents: The documents that a retriever has found.
            query: The text to compare the documents with.
            callbacks: Not used; LangChain's retriever makes the callbacks.

        Raises:
            MlxcelError: The server has no model for reranking.
            openai.APIError: The server refused the request or could not be reached.
        """
        with langchain_errors:
            return _ranked(documents, self.rerank(query, _texts(documents)))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Return copies of the most relevant documents; see ``compress_documents``."""
        with langchain_errors:
            return _ranked(documents, await self.arerank(query, _texts(documents)))


def _texts(documents: Sequence[Document]) -> list[str]:
    return [document.page_content for document in documents]


def _ranked(documents: Sequence[Document], ranking: Sequence[RankedDocument]) -> list[Document]:
    return [
        documents[ranked.index].model_copy(
            update={
                "metadata": {
                    **documents[ranked.index].metadata,
                    "relevance_score": ranked.relevance_score,
                }
            }
        )
        for ranked in ranking
    ]
