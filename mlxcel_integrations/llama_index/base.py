"""Pickles of what LlamaIndex configures with objects that cannot leave their process."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    Base = BaseModel
else:
    Base = object

__all__ = ["Picklable", "portable_fields"]

OF_THIS_PROCESS = ("callback_manager", "rate_limiter")


class Picklable(Base):
    """A model that leaves its handlers behind when they cannot be pickled.

    No Pydantic class of its own: building one more takes its time at each import.
    """

    def __getstate__(self) -> dict[Any, Any]:
        """Put the defaults in place of what belongs to this process and cannot leave it."""
        state = super().__getstate__()
        return {**state, "__dict__": portable_fields(self, state["__dict__"])}


def portable_fields(model: BaseModel, fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields of a model, with defaults in place of handlers that cannot be pickled."""
    kept = dict(fields)
    for name in OF_THIS_PROCESS:
        if name in kept and not _can_be_pickled(kept[name]):
            kept[name] = type(model).model_fields[name].get_default(call_default_factory=True)
    return kept


def _can_be_pickled(value: object) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001  # objects of others, which raise anything
        return False
    return True
