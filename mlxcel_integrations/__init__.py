"""Use local models served by mlxcel from LangChain and LlamaIndex.

The names below are loaded when they are first used: importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import loaded_on_use

if TYPE_CHECKING:
    from .async_client import AsyncLLM
    from .client import LLM
    from .errors import (
        MlxcelError,
        MlxcelServerError,
        MlxcelStreamError,
        MlxcelTimeoutError,
        StructuredOutputError,
        StructuredOutputTruncated,
    )
    from .protocol.answers.prompt_progress import PromptProgress
    from .protocol.answers.reply import ChatReply
    from .protocol.features import ServerFeatures
    from .protocol.tokens.prompt_cost import PromptCost
    from .protocol.tokens.shared_prefix import SharedPrefix
    from .protocol.vectors.rerank import RankedDocument
    from .structured.decision import Decision
    from .supervisor.managed_server import ManagedServer

__all__ = [
    "LLM",
    "AsyncLLM",
    "ChatReply",
    "Decision",
    "ManagedServer",
    "MlxcelError",
    "MlxcelServerError",
    "MlxcelStreamError",
    "MlxcelTimeoutError",
    "PromptCost",
    "PromptProgress",
    "RankedDocument",
    "ServerFeatures",
    "SharedPrefix",
    "StructuredOutputError",
    "StructuredOutputTruncated",
    "__version__",
]

__version__ = "0.1.0"

_HOMES = {
    "LLM": "client",
    "AsyncLLM": "async_client",
    "ManagedServer": "supervisor.managed_server",
    "ServerFeatures": "protocol.features",
    "PromptProgress": "protocol.answers.prompt_progress",
    "ChatReply": "protocol.answers.reply",
    "PromptCost": "protocol.tokens.prompt_cost",
    "SharedPrefix": "protocol.tokens.shared_prefix",
    "RankedDocument": "protocol.vectors.rerank",
    "Decision": "structured.decision",
    "MlxcelError": "errors",
    "MlxcelServerError": "errors",
    "MlxcelStreamError": "errors",
    "MlxcelTimeoutError": "errors",
    "StructuredOutputError": "errors",
    "StructuredOutputTruncated": "errors",
}
__getattr__, __dir__ = loaded_on_use(__name__, _HOMES)
