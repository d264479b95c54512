"""Base classes of adapters that generate text: completions and chats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import field_validator

from ..options.fields import ChatOptions, SamplingParams
from ..protocol.sampling import with_reasoning
from ..structured.request import (
    SCHEMA_FIELDS,
    check_format_type,
    to_response_format,
    with_schema_applied,
)
from .model import ModelAdapter

__all__ = ["ChatAdapter", "GenerationAdapter"]


class GenerationAdapter(ModelAdapter, SamplingParams):
    """A model that generates text."""

    @classmethod
    def _unknown_option_hint(cls) -> str:
        return "To send it to the server unchanged, use extra_body=."

    @field_validator("response_format", mode="before")
    @classmethod
    def _accept_types(cls, value: Any) -> Any:
        check_format_type(value)
        return value if isinstance(value, Mapping | None) else to_response_format(value)

    @property
    def _default_sampling(self) -> dict[str, Any]:
        """The sampling fields given to the constructor; callers must not change the dictionary."""
        derived = self._derived
        if "sampling" not in derived:
            values = self.__dict__
            fields = {name: values[name] for name in SamplingParams.model_fields}
            derived["sampling"] = {n: value for n, value in fields.items() if value is not None}
        return derived["sampling"]


class ChatAdapter(GenerationAdapter, ChatOptions):
    """A model that answers conversations."""

    def _chat_request(
        self, messages: Sequence[Mapping[str, Any]], call: Mapping[str, Any]
    ) -> tuple[Sequence[Mapping[str, Any]], dict[str, Any]]:
        """Return messages and fields of a chat request, in which a schema is shown to the model."""
        fields = self._chat_fields(call)
        if SCHEMA_FIELDS.isdisjoint(fields):
            return messages, fields
        return with_schema_applied(messages, fields)

    def _chat_fields(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a chat request: those of the call override the constructor's."""
        fields = {**self._default_sampling, **call}
        if self.return_progress:
            fields.setdefault("return_progress", True)
        effort = fields.pop("reasoning_effort", self.reasoning)
        effort = fields.pop("reasoning", effort)
        return fields if effort is None else with_reasoning(fields, effort)
