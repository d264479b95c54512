"""Use local models served by mlxcel from LangChain and LlamaIndex.

The names below are loaded when they are first used: importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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
    from .protocol.features import ServerFeatures
    from .protocol.stream import ChatReply
    from .supervisor.process import ManagedServer

__all__ = [
    "LLM",
    "AsyncLLM",
    "ChatReply",
    "ManagedServer",
    "MlxcelError",
    "MlxcelServerError",
    "MlxcelStreamError",
    "MlxcelTimeoutError",
    "ServerFeatures",
    "StructuredOutputError",
    "StructuredOutputTruncated",
    "__version__",
]

__version__ = "0.1.0"

_HOMES = {
    "LLM": "client",
    "AsyncLLM": "async_client",
    "ManagedServer": "supervisor.process",
    "ServerFeatures": "protocol.features",
    "ChatReply": "protocol.stream",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_HOMES.get(name, 'errors')}", __name__)
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
