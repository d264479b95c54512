"""Pickles of what LlamaIndex configures with objects that cannot leave their process."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel as Base
else:
    Base = object

__all__ = ["Picklable"]

OF_THIS_PROCESS = ("callback_manager", "rate_limiter")


class Picklable(Base):
    """A model that leaves its handlers behind when they cannot be pickled.

    No Pydantic class of its own: building one more takes its time at each import.
    """

    def __getstate__(self) -> dict[Any, Any]:
        """Put the defaults in place of what belongs to this process and cannot leave it."""
        state = super().__getstate__()
        fields = dict(state["__dict__"])
        for name in OF_THIS_PROCESS:
            if name in fields and not _can_be_pickled(fields[name]):
                fields[name] = type(self).model_fields[name].get_default(call_default_factory=True)
        return {**state, "__dict__": fields}


def _can_be_pickled(value: object) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001  # objects of others, which raise anything
        return False
    return True
