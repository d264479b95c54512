"""Filling in the middle of a text: ``/infill``, for models that were trained for it.

The route ``/v1/completions`` takes a ``suffix`` too, but all servers ignore it there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import MlxcelError
from .headers import check_session
from .sampling import to_wire
from .stream import Delta, DeltaStream, Request

__all__ = ["InfillStream", "infill_request"]

ROUTE = "/infill"

_NATIVE_NAMES = {
    "max_tokens": "n_predict",
    "repetition_penalty": "repeat_penalty",
    "repetition_context_size": "repeat_last_n",
}
_NOT_HERE = ("logprobs", "top_logprobs", "response_format")


def infill_request(model: str, prompt: str, suffix: Any, sampling: Mapping[str, Any]) -> Request:
    """Ask for what stands between two texts.

    Args:
        model: Name of the served model.
        prompt: What stands before.
        suffix: What stands after.
        sampling: Sampling fields; None values are left to the server.

    Raises:
        MlxcelError: The suffix is no text, or a field is one that this route does not have.
    """
    if not isinstance(suffix, str):
        raise MlxcelError(f"suffix= is one text, not {type(suffix).__name__}.")
    for name in _NOT_HERE:
        if sampling.get(name) is not None:
            raise MlxcelError(f"{name}= cannot be used together with suffix=.")
    fields = {_NATIVE_NAMES.get(name, name): value for name, value in to_wire(sampling).items()}
    body = {"model": model, "input_prefix": prompt, "input_suffix": suffix, "stream": True}
    return Request(ROUTE, {**body, **fields}, InfillStream, check_session(sampling.get("session")))


class InfillStream(DeltaStream):
    """Read a streamed answer in llama.cpp's own form."""

    def _read_event(self, data: bytes) -> Delta | None:
        return super()._read_event(_as_completion(data))

    def _read_choice(self, choice: dict[str, Any]) -> Delta:
        delta = Delta(choice.get("content") or "")
        if choice.get("stop"):
            delta.finish_reason = "length" if choice.get("stop_type") == "limit" else "stop"
        return delta


def _as_completion(data: bytes) -> bytes:
    """Bring an event to the form of the other routes; what is none stays as it is."""
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        return data
    if not isinstance(event, dict) or "content" not in event:
        return data
    wrapped = {"choices": [event], "model": event.get("model"), "timings": event.get("timings")}
    prompt, made = event.get("tokens_evaluated"), event.get("tokens_predicted")
    if event.get("stop") and isinstance(prompt, int) and isinstance(made, int):
        wrapped["usage"] = {
            "prompt_tokens": prompt,
            "completion_tokens": made,
            "total_tokens": prompt + made,
        }
    return json.dumps(wrapped).encode()
