"""Sampling fields as every server version accepts them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import MlxcelError

__all__ = ["depends_on_engine", "to_wire"]

_OTHER_NAMES = {
    "max_completion_tokens": "max_tokens",
    "n_predict": "max_tokens",
    "repeat_penalty": "repetition_penalty",
    "repeat_last_n": "repetition_context_size",
}
"""Names known from OpenAI and llama.cpp that older servers ignore in silence."""


_NOT_FIELDS = ("extra_body", "session", "stream", "stream_options")
"""What is put in on its own, or decided here: every generation streams; a session is a header."""

_LLAMA_NAMES = {
    "repetition_penalty": "repeat_penalty",
    "repetition_context_size": "repeat_last_n",
}
"""What llama.cpp knows under the older names only, which mlxcel refuses beside the newer ones."""


def depends_on_engine(sampling: Mapping[str, Any]) -> bool:
    """Tell whether the engine must be known to name the fields."""
    return any(
        _OTHER_NAMES.get(name, name) in _LLAMA_NAMES and value is not None
        for name, value in sampling.items()
    )


def to_wire(sampling: Mapping[str, Any], engine: str | None = None) -> dict[str, Any]:
    """Return the fields of a request body.

    None is left out: the server's default holds. Unknown names are forwarded. What stands in
    ``extra_body`` is sent as it is and beats everything else.

    Args:
        sampling: The fields by their names in ``SamplingParams``.
        engine: What serves them, as ``ServerFeatures.engine``.

    Raises:
        MlxcelError: A value is one that no server accepts or that it would ignore in silence.
    """
    fields = {
        _OTHER_NAMES.get(name, name): value
        for name, value in sampling.items()
        if value is not None and name not in _NOT_FIELDS
    }
    if engine == "llama.cpp":
        fields = {_LLAMA_NAMES.get(name, name): value for name, value in fields.items()}
    if "stop" in fields:
        _set_stop(fields)
    if "max_tokens" in fields and fields["max_tokens"] < 0:
        raise MlxcelError(
            f"max_tokens is {fields['max_tokens']}: leave it out for no limit, or pass 0 or more."
        )
    # Older servers refuse a negative seed, which elsewhere means "random".
    if "seed" in fields and fields["seed"] < 0:
        del fields["seed"]
    if fields.get("n", 1) != 1:
        raise MlxcelError("n is more than 1: the server gives one answer, so ask several times.")
    fields.pop("n", None)
    return {**fields, **(sampling.get("extra_body") or {})}


def _set_stop(fields: dict[str, Any]) -> None:
    """Send ``stop`` as a list, since older servers refuse a plain text."""
    stop = fields["stop"]
    stop = [stop] if isinstance(stop, str) else list(stop)
    if stop:
        fields["stop"] = stop
    else:
        del fields["stop"]
