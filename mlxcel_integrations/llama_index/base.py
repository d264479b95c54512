"""Base classes of the LlamaIndex adapters: pickling, and the fields of a chat request."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage

from .messages import to_openai_messages

if TYPE_CHECKING:
    from llama_index.core.llms.function_calling import FunctionCallingLLM

    from ..adapters import ChatAdapter

    class ChatModel(ChatAdapter, FunctionCallingLLM):
        """The class that a mixin of ``Mlxcel`` is mixed into."""
else:
    # LlamaIndex would add a span to each overridden method of a mixin that is a model itself.
    ChatModel = object

__all__ = ["ChatRequests", "Picklable", "picklable_fields"]

PROCESS_BOUND = ("callback_manager", "rate_limiter")
"""Fields of LlamaIndex whose objects may hold locks, files or connections of this process."""


class Picklable:
    """A Pydantic model that is pickled without handlers that cannot be."""

    def __getstate__(self) -> dict[Any, Any]:
        """Put defaults in place of the handlers that cannot leave this process."""
        state: Any = super().__getstate__()
        return {**state, "__dict__": picklable_fields(type(self), state["__dict__"])}


def picklable_fields(model: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a model, with defaults in place of handlers that cannot be pickled.

    Args:
        model: The class of the model.
        fields: The values of its fields.
    """
    kept = dict(fields)
    for name in PROCESS_BOUND:
        if name in kept and not _can_be_pickled(kept[name]):
            kept[name] = model.model_fields[name].get_default(call_default_factory=True)
    return kept


def _can_be_pickled(value: object) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001  # objects of other packages raise anything
        return False
    return True


class ChatRequests(ChatModel):
    """The messages and fields of a chat request, for ``Mlxcel`` and its mixins."""

    def _openai_messages(self, messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
        return to_openai_messages(messages, reasoning=self.send_reasoning, urls=self.send_urls)

    def _chat_fields(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a chat request: a call's beat the constructor's."""
        return self._with_reasoning({**self._own_sampling, **call})
