"""mlxcel in LangChain."""

from __future__ import annotations

from .chat_models import ChatMlxcel

__all__ = ["ChatMlxcel"]
