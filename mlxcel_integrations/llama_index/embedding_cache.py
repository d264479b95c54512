"""A cache of vectors that may be shared: each kind of vectors has its own keys in it."""

from __future__ import annotations

from typing import Any

from llama_index.core.storage.kvstore.types import DEFAULT_COLLECTION, BaseKVStore

__all__ = ["NamespacedStore", "Question"]


class Question(str):
    """A text that is embedded as a question: it may have another vector than the same text."""

    __slots__ = ()


class NamespacedStore(BaseKVStore):
    """A part of a store, in which LlamaIndex looks vectors up by the text alone.

    Args:
        store: The store; others may share it.
        texts: What all keys of texts begin with.
        questions: What all keys of questions begin with.
    """

    def __init__(self, store: BaseKVStore, texts: str, questions: str) -> None:
        self.store = store
        self._texts = texts
        self._questions = questions

    def _key(self, text: str) -> str:
        return (self._questions if isinstance(text, Question) else self._texts) + text

    def get(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """Return what is stored for a text, None if nothing is."""
        return self.store.get(self._key(key), collection)

    async def aget(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """Return what is stored for a text, None if nothing is."""
        return await self.store.aget(self._key(key), collection)

    def put(self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION) -> None:
        """Store something for a text."""
        self.store.put(self._key(key), val, collection)

    async def aput(
        self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION
    ) -> None:
        """Store something for a text."""
        await self.store.aput(self._key(key), val, collection)

    def get_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """Return all that the store has, of others too."""
        return self.store.get_all(collection)

    async def aget_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """Return all that the store has, of others too."""
        return await self.store.aget_all(collection)

    def delete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Remove what is stored for a text."""
        return self.store.delete(self._key(key), collection)

    async def adelete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Remove what is stored for a text."""
        return await self.store.adelete(self._key(key), collection)
