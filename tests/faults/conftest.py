"""The fake `mlxcel` of the supervisor's tests."""

from __future__ import annotations

from tests.supervisor.conftest import fake

__all__ = ["fake"]
