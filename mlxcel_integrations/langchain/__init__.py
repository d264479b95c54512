"""mlxcel in LangChain.

The names below are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import loaded_on_use

if TYPE_CHECKING:
    from .chat_models import ChatMlxcel
    from .decisions import MlxcelDecision
    from .embeddings import MlxcelEmbeddings
    from .llms import MlxcelLLM
    from .registration import register_with_langchain
    from .rerank import MlxcelRerank

__all__ = [
    "ChatMlxcel",
    "MlxcelDecision",
    "MlxcelEmbeddings",
    "MlxcelLLM",
    "MlxcelRerank",
    "register_with_langchain",
]

_HOMES = {
    "ChatMlxcel": "chat_models",
    "MlxcelDecision": "decisions",
    "MlxcelEmbeddings": "embeddings",
    "MlxcelLLM": "llms",
    "MlxcelRerank": "rerank",
    "register_with_langchain": "registration",
}
__getattr__, __dir__ = loaded_on_use(__name__, _HOMES, extra="langchain")
