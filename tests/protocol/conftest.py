"""Empty caches of schemas for each test."""

from __future__ import annotations

from tests.structured.conftest import forget_types

__all__ = ["forget_types"]
