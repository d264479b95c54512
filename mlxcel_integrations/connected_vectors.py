"""What the embeddings, and the rerankers, of both frameworks have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .adapters import ModelAdapter
from .options import EmbeddingOptions, RerankOptions
from .protocol.embeddings import RankedDocument

__all__ = ["Embedding", "Reranking"]


class Embedding(ModelAdapter, EmbeddingOptions):
    """A model that makes vectors, with the fields for that."""

    def _for_texts(self) -> dict[str, Any]:
        """Return the arguments of ``LLM.embed`` for texts that are to be found."""
        return {
            "model": self.served_model,
            "prefix": self.text_prefix,
            "dimensions": self.dimensions,
            "skip_empty": self.skip_empty,
        }

    def _for_queries(self) -> dict[str, Any]:
        """Return the arguments of ``LLM.embed`` for questions."""
        own = {"prefix": self.query_prefix, "instruction": self.instruction}
        return {**self._for_texts(), **own}


class Reranking(ModelAdapter, RerankOptions):
    """A model that ranks documents, with the fields for that."""

    def rerank(self, query: str, documents: Sequence[str]) -> list[RankedDocument]:
        """Return the most relevant of some texts, with their places and scores.

        Args:
            query: What is looked for.
            documents: The texts.

        Raises:
            MlxcelError: The server has no model for reranking.
            openai.APIError: The server refused the request or could not be reached.
        """
        return self._llm.rerank(query, documents, **self._for_ranking())

    async def arerank(self, query: str, documents: Sequence[str]) -> list[RankedDocument]:
        """Return the most relevant of some texts; see ``rerank``."""
        return await self._async_llm.rerank(query, documents, **self._for_ranking())

    def _for_ranking(self) -> dict[str, Any]:
        return {
            "top_n": self.top_n,
            "model": self.served_model,
            "instruction": self.instruction,
        }
