"""Base class of adapters that embed texts."""

from __future__ import annotations

from typing import Any

from ..modes import embedding_settings
from ..options.fields import EmbeddingOptions
from ..transport.settings import ConnectionSettings
from .model import ModelAdapter

__all__ = ["EmbeddingAdapter"]


class EmbeddingAdapter(ModelAdapter, EmbeddingOptions):
    """A model that embeds texts."""

    def _server_settings(self, settings: ConnectionSettings) -> ConnectionSettings:
        # Where a second server embeds, the first one is not started for it.
        return embedding_settings(settings) or settings

    def _text_arguments(self) -> dict[str, Any]:
        """Return the arguments of ``LLM.embed`` for the texts that queries search."""
        return {
            # Not ``served_model``, which a second server that embeds does not serve.
            "model": self._connection.vectors.preferred,
            "prefix": self.text_prefix,
            "dimensions": self.dimensions,
            "skip_empty": self.skip_empty,
            "truncate": self.truncate,
        }

    def _query_arguments(self) -> dict[str, Any]:
        """Return the arguments of ``LLM.embed`` for queries."""
        own = {"prefix": self.query_prefix, "instruction": self.instruction}
        return {**self._text_arguments(), **own}
