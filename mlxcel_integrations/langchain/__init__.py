"""mlxcel in LangChain.

The names below are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import loaded_on_use

if TYPE_CHECKING:
    from .chat_models import ChatMlxcel
    from .llms import MlxcelLLM
    from .registration import register_with_langchain

__all__ = ["ChatMlxcel", "MlxcelLLM", "register_with_langchain"]

__getattr__, __dir__ = loaded_on_use(
    __name__,
    {
        "ChatMlxcel": "chat_models",
        "MlxcelLLM": "llms",
        "register_with_langchain": "registration",
    },
)
