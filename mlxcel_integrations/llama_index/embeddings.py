"""``MlxcelEmbedding``: embeddings for LlamaIndex."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Self

from llama_index.core.base.embeddings.base import BaseEmbedding
from pydantic import Field, PrivateAttr, model_validator

from ..adapters.embedding import EmbeddingAdapter
from ..errors import MlxcelError
from ..protocol.body import valid_text
from ..protocol.vectors.vector_models import BATCH_SIZE
from .embedding_cache import NamespacedStore, QueryText

if TYPE_CHECKING:
    from ..transport.connection import Connection
    from ..transport.server import ServerLease

__all__ = ["MlxcelEmbedding"]


class MlxcelEmbedding(EmbeddingAdapter, BaseEmbedding, defer_build=False):
    """Vectors of texts, made by a model on this machine, or on a server.

    Starts a server for ``model`` on first use, or talks to the one at ``base_url`` or ``socket``.
    Of several served models, uses the one that the server reports as made for embeddings;
    ``served_model`` names another. With the options of an ``Mlxcel``, ``embedding_model`` included,
    both share one server.

    Examples:
        >>> from mlxcel_integrations.llama_index import MlxcelEmbedding
        >>> with MlxcelEmbedding(model="embedded") as embed_model:
        ...     vectors = embed_model.get_text_embedding_batch(["The sea is blue.", "Cats sleep."])
        >>> len(vectors), len(vectors[0])
        (2, 384)
    """

    model_name: str = Field(
        default="",
        description="Name of the vectors in events and in a cache; the name of the model or its "
        "address if not given.",
    )
    # LlamaIndex sends one batch after the other, so each must be large enough for all slots.
    embed_batch_size: int = Field(
        default=256,
        gt=0,
        le=2048,
        description=f"Texts that are embedded at once, in requests of up to {BATCH_SIZE}.",
    )
    # Without a number LlamaIndex sends all batches at once.
    num_workers: int | None = Field(
        default=2, description="Batches that are embedded at the same time in async code."
    )

    _is_named: bool = PrivateAttr(default=False)

    @model_validator(mode="after")
    def _set_cache(self) -> Self:
        self._is_named = bool(self.model_name)
        self._name_vectors()
        return self

    def _connect(self, lease: ServerLease | None = None) -> Connection:
        try:
            return super()._connect(lease)
        except MlxcelError as error:
            if self.model_name and not (self.model or self.base_url or self.socket):
                # Other packages take the model's name under this keyword.
                raise MlxcelError(f"{error} model_name= only names the vectors.") from None
            raise

    def _apply_changes(self, changed: AbstractSet[str]) -> None:
        super()._apply_changes(changed)
        # Fails while a new address is incomplete; the next change sets the names.
        with contextlib.suppress(MlxcelError):
            self._name_vectors()

    def _name_vectors(self) -> None:
        """Name the vectors after the model and the options, so that a cache finds them."""
        if not getattr(self, "_is_named", False):  # pickles lose it
            started = self._connection.model_to_start
            beside = str(started) if started not in (None, self.model) else None
            known = beside or self.served_model or self.embedding_model or self.model
            self.model_name = known or repr(self._connection)
        store = self.embeddings_cache
        if store:
            self.embeddings_cache = NamespacedStore(
                store.store if isinstance(store, NamespacedStore) else store,
                self._namespace(self._text_arguments()),
                self._namespace(self._query_arguments()),
            )

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex stores such a model."""
        return "MlxcelEmbedding"

    def get_query_embedding(self, query: str) -> list[float]:
        """Return the vector of a query, with which similar texts are found."""
        return super().get_query_embedding(QueryText(valid_text(query)))

    async def aget_query_embedding(self, query: str) -> list[float]:
        """Return the vector of a query, with which similar texts are found."""
        return await super().aget_query_embedding(QueryText(valid_text(query)))

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._llm.embed([query], **self._query_arguments())[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return (await self._async_llm.embed([query], **self._query_arguments()))[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._llm.embed(texts, batch_size=self._batch_size, **self._text_arguments())

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await self._async_llm.embed(
            texts, batch_size=self._batch_size, **self._text_arguments()
        )

    @property
    def _batch_size(self) -> int:
        return min(BATCH_SIZE, self.embed_batch_size)

    def _namespace(self, arguments: dict[str, Any]) -> str:
        """Return the prefix of the cache keys for vectors made with these arguments."""
        values = [arguments.get(name) for name in ("prefix", "instruction", "dimensions")]
        return json.dumps([self.model_name, *values], ensure_ascii=False) + " "
