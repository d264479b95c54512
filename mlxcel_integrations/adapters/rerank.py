"""Base class of adapters that rank documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..options.fields import RerankOptions
from .model import ModelAdapter

if TYPE_CHECKING:
    from ..protocol.vectors.rerank import RankedDocument

__all__ = ["RerankAdapter"]


class RerankAdapter(ModelAdapter, RerankOptions):
    """A model that ranks documents."""

    def rerank(self, query: str, documents: Sequence[str]) -> list[RankedDocument]:
        """Return the most relevant documents, with their indices and scores.

        Args:
            query: The text to compare the documents with.
            documents: The texts of the documents.

        Raises:
            MlxcelError: The server has no model for reranking.
            openai.APIError: The server refused the request or could not be reached.
        """
        return self._llm.rerank(query, documents, **self._rank_arguments())

    async def arerank(self, query: str, documents: Sequence[str]) -> list[RankedDocument]:
        """Return the most relevant documents; see ``rerank``."""
        return await self._async_llm.rerank(query, documents, **self._rank_arguments())

    def _rank_arguments(self) -> dict[str, Any]:
        return {
            "top_n": self.top_n,
            "model": self.served_model,
            "instruction": self.instruction,
        }
