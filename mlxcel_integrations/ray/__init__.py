"""mlxcel in Ray Data: an answer for each row of a dataset, on one machine or a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import loaded_on_use

if TYPE_CHECKING:
    from .batches import ChatBatches
    from .dataset import chat
    from .servers import ServerLost

__all__ = ["ChatBatches", "ServerLost", "chat"]

_HOMES = {"ChatBatches": "batches", "ServerLost": "servers", "chat": "dataset"}
__getattr__, __dir__ = loaded_on_use(__name__, _HOMES, extra="ray")
