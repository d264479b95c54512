"""Pickling of adapters: objects of this process are left out."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

__all__ = ["picklable_fields"]

PROCESS_BOUND = {"cache", "callback_manager", "callbacks", "custom_get_token_ids", "rate_limiter"}
"""Fields of the frameworks whose objects may hold locks, files or connections of this process."""


def picklable_fields(model: type[BaseModel], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a model, without objects of this process that cannot be pickled.

    Args:
        model: The class of the model.
        fields: The values of its fields.
    """
    kept = dict(fields)
    for name in PROCESS_BOUND & kept.keys():
        value = kept[name]
        if _can_be_pickled(value):
            continue
        if isinstance(value, list):
            kept[name] = [part for part in value if _can_be_pickled(part)]
        else:
            kept[name] = model.model_fields[name].get_default(call_default_factory=True)
    return kept


def _can_be_pickled(value: object) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 - objects of other packages raise anything
        return False
    return True
