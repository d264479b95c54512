"""Marks of tests that older releases of LlamaIndex fail."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from packaging.version import Version

__all__ = ["QUERIES_CAN_BE_LEFT"]

QUERIES_CAN_BE_LEFT = pytest.mark.skipif(
    Version(version("llama-index-core")) < Version("0.14.25"),
    reason="before 0.14.25 LlamaIndex itself keeps a streamed query that is left",
)
