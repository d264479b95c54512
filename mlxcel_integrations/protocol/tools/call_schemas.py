"""Schemas of tool calls that come as JSON: ``{"name": ..., "arguments": ...}``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import MlxcelError
from ..schemas.definition_names import with_itself_defined
from ..schemas.json_schema import (
    JsonSchema,
    check_schema_size,
    containers,
    mapped_keeping_openness,
    rebased,
)
from ..schemas.references import check_references

__all__ = ["CALL_SCHEMA_NAME", "CallSchemas", "any_of", "compilable", "list_of", "object_of"]

CALL_SCHEMA_NAME = "call"
"""Name of the schema of calls."""

MAX_CALLS = 8
"""Most calls in one answer: small models often do not end a list."""


class CallSchemas:
    """The schemas of calls, which stand together in one schema."""

    def __init__(self) -> None:
        self._definitions: JsonSchema = {}

    def call(self, function: Mapping[str, Any]) -> JsonSchema:
        """Return the schema of a call of a tool.

        Args:
            function: The function of an OpenAI tool.

        Raises:
            MlxcelError: The schema of its parameters is too deep or too long, or one of its
                references leads nowhere or never ends.
        """
        parameters = dict(_parameters(function))
        try:
            arguments = self.placed(parameters)
            check_references(parameters)
        except MlxcelError as error:
            raise MlxcelError(f"The parameters of the tool {function['name']!r}: {error}") from None
        return object_of(name={"const": function["name"]}, arguments=arguments)

    def placed(self, schema: Mapping[str, Any]) -> JsonSchema:
        """Return a schema as a part of another one.

        With references in it, it becomes a definition. Others do not, since mlxcel accepts only
        so many references.

        Raises:
            MlxcelError: It is too deep or too long.
        """
        check_schema_size(schema)  # first, since the rest recurses as deep
        if not any(isinstance(part, dict) and "$ref" in part for _, part in containers(schema)):
            return dict(schema)
        name = f"part{len(self._definitions)}"
        self._definitions[name] = rebased(schema, f"#/$defs/{name}")
        return {"$ref": f"#/$defs/{name}"}

    def response_format(self, schema: JsonSchema) -> dict[str, Any]:
        """Return the ``response_format`` of answers that have a schema of these parts.

        Raises:
            MlxcelError: It is too long, or one of its references leads nowhere or never ends.
        """
        if self._definitions:
            schema = {**schema, "$defs": self._definitions}
        check_schema_size(schema)
        check_references(schema)
        return {"type": "json_schema", "json_schema": {"name": CALL_SCHEMA_NAME, "schema": schema}}


def compilable(tools: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return tools whose parameters mean the same, in a form that llama.cpp can compile.

    It refuses a request with a tool that has ``true`` or ``false`` as a schema, or ``"$ref": "#"``.
    """
    return [_compilable(tool, tool["function"]) for tool in tools]


def _compilable(tool: Mapping[str, Any], function: Mapping[str, Any]) -> Mapping[str, Any]:
    given = function.get("parameters")
    if not isinstance(given, dict):
        return tool
    check_schema_size(given)  # first, since the rest recurses as deep
    parameters = with_itself_defined(_without_booleans(given))
    return {**tool, "function": {**function, "parameters": parameters}}


def _without_booleans(schema: Any) -> Any:
    """Return a schema without ``true`` and ``false``, except for open and closed objects."""
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    if not isinstance(schema, dict):
        return schema
    return mapped_keeping_openness(schema, _without_booleans)


def any_of(forms: Sequence[JsonSchema]) -> JsonSchema:
    """Return the schema of values that have one of several forms."""
    return forms[0] if len(forms) == 1 else {"anyOf": list(forms)}


def list_of(call: JsonSchema) -> JsonSchema:
    """Return the schema of one or more calls, ``{"calls": [...]}``."""
    calls = {"type": "array", "items": call, "minItems": 1, "maxItems": MAX_CALLS}
    return object_of(calls=calls)


def object_of(**properties: JsonSchema) -> JsonSchema:
    """Return the schema of objects with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _parameters(function: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = function.get("parameters") or {}
    if parameters.keys() <= {"type", "properties", "required", "title", "description", "$defs"}:
        # Otherwise the model may invent arguments.
        return {"type": "object", "properties": {}, **parameters, "additionalProperties": False}
    return parameters
