"""Objects of this process are left out of pickles."""

from __future__ import annotations

import threading
from typing import Any

from pydantic import BaseModel

from mlxcel_integrations.adapters.pickling import picklable_fields


def test_what_belongs_to_this_process_stays_here() -> None:
    class Model(BaseModel):
        callbacks: Any = None
        cache: Any = "usual"
        other: Any = None

    lock = threading.Lock()
    fields = {"callbacks": ["a", lock], "cache": lock, "other": lock}

    assert {"callbacks": ["a"], "cache": "usual", "other": lock} == picklable_fields(Model, fields)
