"""``MlxcelEmbeddings``: embeddings for LangChain."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings
from pydantic import Field

from ..adapters.embedding import EmbeddingAdapter
from ..protocol.vectors.vector_models import BATCH_SIZE
from .error_translation import langchain_errors

__all__ = ["MlxcelEmbeddings"]


class MlxcelEmbeddings(EmbeddingAdapter, Embeddings, defer_build=False):
    """Vectors of texts, made by a model on this machine, or on a server.

    Starts a server for ``model`` on first use, or talks to the one at ``base_url`` or ``socket``.
    Of several served models, uses the one that the server reports as made for embeddings;
    ``served_model`` names another. With the options of a ``ChatMlxcel``, ``embedding_model``
    included, both share one server.

    Examples:
        >>> from mlxcel_integrations.langchain import MlxcelEmbeddings
        >>> with MlxcelEmbeddings(model="embedded") as embeddings:
        ...     vectors = embeddings.embed_documents(["The sea is blue.", "Cats sleep a lot."])
        >>> len(vectors), len(vectors[0])
        (2, 384)
    """

    batch_size: int = Field(
        default=BATCH_SIZE,
        ge=1,
        description="Maximum number of texts in a request; fewer if they are long.",
    )
    show_progress: bool = Field(
        default=False, description="Whether to show a bar while documents are embedded."
    )

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of documents, to be found by queries.

        Raises:
            MlxcelError: A text is empty, or the server has no model for embeddings.
            openai.APIError: The server refused the request or could not be reached.
        """
        with langchain_errors:
            return self._llm.embed(texts, **self._document_arguments())

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query."""
        with langchain_errors:
            return self._llm.embed([text], **self._query_arguments())[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of documents; see ``embed_documents``."""
        with langchain_errors:
            return await self._async_llm.embed(texts, **self._document_arguments())

    async def aembed_query(self, text: str) -> list[float]:
        """Return the vector of a query; see ``embed_query``."""
        with langchain_errors:
            return (await self._async_llm.embed([text], **self._query_arguments()))[0]

    def _document_arguments(self) -> dict[str, Any]:
        own = {"batch_size": self.batch_size, "show_progress": self.show_progress}
        return {**self._text_arguments(), **own}
