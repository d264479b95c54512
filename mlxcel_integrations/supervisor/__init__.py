"""A server process that is started, watched and stopped here."""

from __future__ import annotations

from .process import ManagedServer

__all__ = ["ManagedServer"]
