"""Text completions: ``/v1/completions``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import MlxcelError
from .sampling import to_wire
from .stream import Delta, DeltaStream, Request

__all__ = ["CompletionStream", "completion_request"]

ROUTE = "/v1/completions"


def completion_request(
    model: str, prompt: str, sampling: Mapping[str, Any], engine: str | None = None
) -> Request:
    """Ask for the continuation of a text.

    Args:
        model: Name of the served model.
        prompt: The text; no chat template is applied.
        sampling: Sampling fields; None values are left to the server.
        engine: What serves the model, as ``ServerFeatures.engine``.

    Raises:
        MlxcelError: The prompt is no text, or a field has a value no server accepts.
    """
    if not isinstance(prompt, str):
        raise MlxcelError(
            f"A prompt is one text, not {type(prompt).__name__}; ask once for each prompt."
        )
    body = {
        "model": model,
        "prompt": prompt,
        "stream": True,
        "stream_options": {"include_usage": True},
        **to_wire(_with_number(sampling), engine),
    }
    return Request(ROUTE, body, CompletionStream)


def _with_number(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for log probabilities as this route does: by a number, where chat has two fields."""
    fields = dict(sampling)
    if isinstance(fields.get("logprobs"), bool):
        alternatives = fields.pop("top_logprobs", None)
        fields["logprobs"] = (alternatives or 1) if fields["logprobs"] else None
    return fields


class CompletionStream(DeltaStream):
    """Read a streamed text completion."""

    def _read_choice(self, choice: dict[str, Any]) -> Delta | None:
        delta = Delta(choice.get("text") or "")
        if choice.get("finish_reason"):
            delta.finish_reason = choice["finish_reason"]
        if choice.get("logprobs"):
            delta.logprobs = choice["logprobs"]
        return delta
