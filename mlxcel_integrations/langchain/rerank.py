"""``MlxcelRerank``: reranking for LangChain."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document

from ..adapters import RerankAdapter
from ..protocol.rerank import RankedDocument
from .error_translation import langchain_errors

__all__ = ["MlxcelRerank"]


class MlxcelRerank(RerankAdapter, BaseDocumentCompressor, defer_build=False):
    """Puts documents in the order of their relevance to a question, and keeps the best.

    Starts a server for ``model`` on first use, or talks to the one at ``base_url`` or ``socket``.
    Of several served models, the one for reranking is found by what the server says of them;
    ``served_model`` names another.
    """

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Return copies of the most relevant documents, the best first.

        Each has its score in ``metadata["relevance_score"]``; equally relevant ones stay in their
        order.

        Args:
            documents: What a retriever has found.
            query: The question.
            callbacks: Not used; what is ranked is told by the retriever.

        Raises:
            MlxcelError: The server has no model for reranking.
            openai.APIError: The server refused the request or could not be reached.
        """
        with langchain_errors():
            return _ranked(documents, self.rerank(query, _texts(documents)))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Return copies of the most relevant documents; see ``compress_documents``."""
        with langchain_errors():
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
