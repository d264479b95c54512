"""Schemas that are as large or as deep as a limit allows, or more so."""

from __future__ import annotations

from typing import Any

from mlxcel_integrations.protocol.schemas.json_schema import compact

__all__ = ["nested", "of_size"]


def of_size(size: int) -> dict[str, Any]:
    """Return a schema with so many bytes, most of them in one of two properties."""
    schema = {"properties": {"small": {"title": "S"}, "large": {"title": ""}}}
    schema["properties"]["large"]["title"] = "x" * (size - len(compact(schema)))
    return schema


def nested(depth: int) -> Any:
    return {"items": nested(depth - 1)} if depth > 1 else {}
