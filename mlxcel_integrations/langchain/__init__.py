"""mlxcel in LangChain."""

from __future__ import annotations

from .chat_models import ChatMlxcel
from .llms import MlxcelLLM

__all__ = ["ChatMlxcel", "MlxcelLLM"]
