"""Text completions: ``/v1/completions``, and ``/infill`` for the text before a suffix.

``/v1/completions`` takes a ``suffix`` too, but all servers ignore it there. ``/infill`` needs a
model that was trained for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import MlxcelError
from .answers.delta import Delta
from .answers.stream import DeltaStream
from .generation_request import Check, Request, reader_factory
from .sampling import depends_on_engine, request_fields
from .validation import from_json

__all__ = [
    "CompletionStream",
    "InfillStream",
    "completion_depends_on_engine",
    "completion_request",
]

COMPLETIONS_ROUTE, INFILL_ROUTE = "/v1/completions", "/infill"

_INFILL_NAMES = {
    "max_tokens": "n_predict",
    "repetition_penalty": "repeat_penalty",
    "repetition_context_size": "repeat_last_n",
}
_NOT_FOR_INFILL = ("logprobs", "top_logprobs", "response_format")


def completion_request(
    model: str,
    prompt: str,
    sampling: Mapping[str, Any],
    engine: str | None = None,
    check: Check | None = None,
) -> Request:
    """Ask for the continuation of a text, or for the text between a prompt and a suffix.

    Args:
        model: Name of the served model.
        prompt: The text; no chat template is applied.
        sampling: Sampling fields; None values are left to the server. ``suffix`` is the text that
            follows the generated one.
        engine: Engine that serves the model, as ``ServerFeatures.engine``.
        check: Checks JSON after which its generation failed.

    Raises:
        MlxcelError: The prompt or the suffix is not a string, or no server accepts a field.
    """
    if not isinstance(prompt, str):
        raise MlxcelError(
            f"A prompt must be a string, not {type(prompt).__name__}: make one call for each "
            "prompt."
        )
    session = sampling.get("session")
    if sampling.get("suffix") is not None:
        body = _infill_body(model, prompt, sampling)
        return Request(INFILL_ROUTE, body, reader_factory(InfillStream, body), session)
    body = _completion_body(model, prompt, sampling, engine)
    may_repeat = sampling.get("bounded") is False
    reader = reader_factory(CompletionStream, body, may_repeat=may_repeat)
    return Request(COMPLETIONS_ROUTE, body, reader, session, check=check)


def completion_depends_on_engine(sampling: Mapping[str, Any]) -> bool:
    """Return whether the engine must be known to name the fields."""
    return sampling.get("response_format") is not None or depends_on_engine(sampling)


# --------------------------------------------------------------------------- /v1/completions


def _completion_body(
    model: str, prompt: str, sampling: Mapping[str, Any], engine: str | None
) -> dict[str, Any]:
    fields = request_fields(_completion_fields(sampling), engine)
    if engine == "llama.cpp" and "response_format" in fields:
        # It ignores this field, and takes a schema in another one. Imported here since most
        # completions have no schema.
        from .schemas.json_schema import schema_in

        schema = schema_in(fields.pop("response_format"))
        fields.update({} if schema is None else {"json_schema": schema})
    return {
        "model": model,
        "prompt": prompt,
        "stream": True,
        "stream_options": {"include_usage": True},
        **fields,
    }


def _completion_fields(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields that chats have too, as this route takes them: ``logprobs`` is a number."""
    fields = dict(sampling)
    wanted = fields.get("logprobs")
    if wanted is None or isinstance(wanted, bool):
        alternatives = fields.pop("top_logprobs", None)
        wanted = alternatives is not None if wanted is None else wanted
        fields["logprobs"] = (alternatives or 1) if wanted else None
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


# --------------------------------------------------------------------------- /infill


def _infill_body(model: str, prompt: str, sampling: Mapping[str, Any]) -> dict[str, Any]:
    suffix = sampling["suffix"]
    if not isinstance(suffix, str):
        raise MlxcelError(f"suffix= must be a string, not {type(suffix).__name__}.")
    for name in _NOT_FOR_INFILL:
        if sampling.get(name) is not None:
            raise MlxcelError(f"{name}= cannot be used together with suffix=.")
    rest = {name: value for name, value in sampling.items() if name != "suffix"}
    fields = {_INFILL_NAMES.get(name, name): value for name, value in request_fields(rest).items()}
    return {
        "model": model,
        "input_prefix": prompt,
        "input_suffix": suffix,
        "stream": True,
        **fields,
    }


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
    """Return an event in the form of the other routes; errors and the like are left unchanged."""
    event = from_json(data)
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
