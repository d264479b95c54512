"""A cache of vectors that several models may share: each has its own keys in it."""

from __future__ import annotations

from typing import Any

from llama_index.core.storage.kvstore.types import DEFAULT_COLLECTION, BaseKVStore

__all__ = ["NamespacedStore", "QueryText"]


class QueryText(str):
    """The text of a query, whose vector may differ from a document's with the same text."""

    __slots__ = ()


class NamespacedStore(BaseKVStore):
    """A key-value store that puts a prefix before each key, since LlamaIndex's keys are bare texts.

    Args:
        store: The store, which others may use as well.
        texts: Prefix of the keys of documents' texts.
        queries: Prefix of the keys of queries.
    """

    def __init__(self, store: BaseKVStore, texts: str, queries: str) -> None:
        self.store = store
        self._texts = texts
        self._queries = queries

    def _key(self, text: str) -> str:
        return (self._queries if isinstance(text, QueryText) else self._texts) + text

    def get(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """Return the value that is stored for a text, or None."""
        return self.store.get(self._key(key), collection)

    async def aget(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """Return the value that is stored for a text, or None."""
        return await self.store.aget(self._key(key), collection)

    def put(self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION) -> None:
        """Store a value for a text."""
        self.store.put(self._key(key), val, collection)

    async def aput(
        self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION
    ) -> None:
        """Store a value for a text."""
        await self.store.aput(self._key(key), val, collection)

    def get_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """Return the whole content of the store, including entries of others."""
        return self.store.get_all(collection)

    async def aget_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """Return the whole content of the store, including entries of others."""
        return await self.store.aget_all(collection)

    def delete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Delete the value that is stored for a text."""
        return self.store.delete(self._key(key), collection)

    async def adelete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Delete the value that is stored for a text."""
        return await self.store.adelete(self._key(key), collection)
