"""Text completions: ``/v1/completions``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import MlxcelError
from .headers import check_session
from .infill import infill_request
from .sampling import depends_on_engine, to_wire
from .stream import Delta, DeltaStream, Request

__all__ = ["CompletionStream", "completion_depends_on_engine", "completion_request"]

ROUTE = "/v1/completions"


def completion_request(
    model: str, prompt: str, sampling: Mapping[str, Any], engine: str | None = None
) -> Request:
    """Ask for the continuation of a text.

    Args:
        model: Name of the served model.
        prompt: The text; no chat template is applied.
        sampling: Sampling fields; None values are left to the server. With ``suffix``, what
            stands between the prompt and this text is asked for.
        engine: What serves the model, as ``ServerFeatures.engine``.

    Raises:
        MlxcelError: The prompt is no text, or a field has a value no server accepts.
    """
    if not isinstance(prompt, str):
        raise MlxcelError(
            f"A prompt is one text, not {type(prompt).__name__}; ask once for each prompt."
        )
    if sampling.get("suffix") is not None:
        rest = {name: value for name, value in sampling.items() if name != "suffix"}
        return infill_request(model, prompt, sampling["suffix"], rest)
    body = {
        "model": model,
        "prompt": prompt,
        "stream": True,
        "stream_options": {"include_usage": True},
        **to_wire(_as_here(sampling, engine), engine),
    }
    return Request(ROUTE, body, CompletionStream, check_session(sampling.get("session")))


def completion_depends_on_engine(sampling: Mapping[str, Any]) -> bool:
    """Tell whether the engine must be known to name the fields."""
    return sampling.get("response_format") is not None or depends_on_engine(sampling)


def _as_here(sampling: Mapping[str, Any], engine: str | None) -> dict[str, Any]:
    """Name the fields that chat has too as this route does.

    Log probabilities are asked for by a number. llama.cpp ignores ``response_format`` here, and
    takes a schema in a field of its own.
    """
    fields = dict(sampling)
    if engine == "llama.cpp" and fields.get("response_format"):
        wrapped = fields.pop("response_format").get("json_schema") or {}
        fields["json_schema"] = wrapped.get("schema")
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
