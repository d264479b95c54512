"""Sampling and reasoning fields of requests, as every server version accepts them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ..errors import MlxcelError
from .arguments import as_strings, as_switch, check_mapping, check_text, number, shown, whole
from .schemas.schema_use import SchemaUse

__all__ = [
    "answer_room",
    "asking_for_progress",
    "asks_for_thinking",
    "checked_fields",
    "depends_on_engine",
    "has_schema",
    "reasoning_read",
    "request_fields",
    "with_reasoning",
    "without_progress",
    "without_thinking",
]

OTHER_NAMES = {
    "max_completion_tokens": "max_tokens",
    "n_predict": "max_tokens",
    "repeat_penalty": "repetition_penalty",
    "repeat_last_n": "repetition_context_size",
}
"""Names known from OpenAI and llama.cpp that older servers silently ignore."""

_NOT_FIELDS = {"bounded", "schema_use", "extra_body", "session", "stream", "stream_options"}
"""Not sent as they are: two decide how a schema is sent, ``extra_body`` is merged in, a session is
a header, and every generation streams."""

_LLAMA_NAMES = {
    "repetition_penalty": "repeat_penalty",
    "repetition_context_size": "repeat_last_n",
}
"""llama.cpp knows only these older names, and mlxcel refuses them next to the newer names."""

_NAMED_BY_ENGINE = {*_LLAMA_NAMES, *_LLAMA_NAMES.values()}
"""Fields whose names depend on the engine."""

ANSWER_TOKENS = 1024
"""Most tokens of ``max_tokens`` that are kept for an answer after thoughts."""

_NO_REASONING = ("none", "off", "disabled")

_INTEGER_FIELDS = (
    "max_tokens",
    "max_completion_tokens",
    "n_predict",
    "top_k",
    "seed",
    "top_logprobs",
    "repetition_context_size",
    "repeat_last_n",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "thinking_budget_tokens",
    "max_pattern_size",
    "min_pattern_size",
    "min_count",
    "n",
)
_NUMBER_FIELDS = (
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "top_n_sigma",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "repeat_penalty",
    "dry_multiplier",
    "dry_base",
    "xtc_probability",
    "xtc_threshold",
)
_BOOLEAN_FIELDS = ("logprobs", "cache_prompt", "bounded", "return_progress", "parallel_tool_calls")
_STRING_FIELDS = ("model", "user", "prompt_cache_key", "reasoning_effort")
_DICTIONARY_FIELDS = {
    "logit_bias": '{"5": -100}',
    "chat_template_kwargs": '{"enable_thinking": False}',
    "extra_body": '{"name": 1}',
}
"""Fields that are dictionaries, and an example of each."""

FIELD_TYPES: dict[str, frozenset[type]] = {
    **dict.fromkeys(_INTEGER_FIELDS, frozenset({int})),
    **dict.fromkeys(_NUMBER_FIELDS, frozenset({int, float})),
    **dict.fromkeys(_BOOLEAN_FIELDS, frozenset({bool})),
    **dict.fromkeys(_STRING_FIELDS, frozenset({str})),
    **dict.fromkeys(_DICTIONARY_FIELDS, frozenset({dict})),
    "stop": frozenset({str, list}),
    "schema_use": frozenset({SchemaUse}),
}
"""Usual types of fields; a value of another type is looked at closely."""


def checked_fields(sampling: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return sampling fields whose values have the types that servers expect.

    Raises:
        MlxcelError: One has another type; the message names it.
    """
    unusual = {
        name: value
        for name, value in sampling.items()
        if name in FIELD_TYPES and value is not None and type(value) not in FIELD_TYPES[name]
    }
    if not unusual:
        return sampling
    return {**sampling, **{name: _converted(name, value) for name, value in unusual.items()}}


def _converted(name: str, value: Any) -> Any:
    if name in _DICTIONARY_FIELDS:
        check_mapping(name, value, _DICTIONARY_FIELDS[name])
        return value
    if name in _STRING_FIELDS:
        check_text(name, value)
        return value
    if name == "stop":
        # Once, since several requests may be made of the fields: an iterator would be used up.
        return as_strings(name, value)
    if name == "schema_use":
        raise MlxcelError(
            "schema_use= is not an argument. If the server has a field of this name, pass it in "
            "extra_body=."
        )
    if name in _BOOLEAN_FIELDS:
        return _as_boolean(name, value)
    found = whole(value) if name in _INTEGER_FIELDS else number(value)
    if found is None:
        kind = "whole number" if name in _INTEGER_FIELDS else "number"
        raise MlxcelError(f"{name}={shown(value)} must be a {kind}, not {type(value).__name__}.")
    return found


def _as_boolean(name: str, value: Any) -> bool | int | None:
    # Completions take the number of alternatives as well.
    alternatives = whole(value) if name == "logprobs" else None
    return as_switch(name, value) if alternatives is None else alternatives


def depends_on_engine(sampling: Mapping[str, Any]) -> bool:
    """Return whether the engine must be known to name the fields, or to send the schema."""
    if any(sampling[name] is not None for name in sampling.keys() & _NAMED_BY_ENGINE):
        return True
    wanted = sampling.get("response_format")
    if wanted is None:
        return False
    # Imported here, like the other modules about schemas, since most requests have none.
    from .schemas.size_limits import exceeds_limits

    return exceeds_limits(wanted)


def request_fields(sampling: Mapping[str, Any], engine: str | None = None) -> dict[str, Any]:
    """Return the fields of a request body.

    None is left out, so that the server's default holds, and so is an empty ``response_format``.
    Unknown names are forwarded.
    ``extra_body`` is sent as it is and takes precedence over everything else.

    Args:
        sampling: The fields by their names in ``SamplingParams``.
        engine: Engine that serves the model, as ``ServerFeatures.engine``.

    Raises:
        MlxcelError: No server accepts a value, or every server would silently ignore it.
    """
    fields = {
        OTHER_NAMES.get(name, name): value
        for name, value in sampling.items()
        if value is not None and name not in _NOT_FIELDS
    }
    if engine == "llama.cpp":
        fields = {_LLAMA_NAMES.get(name, name): value for name, value in fields.items()}
    if "stop" in fields:
        _set_stop(fields)
    wanted = fields.pop("response_format", None)
    if wanted:
        limited = engine != "llama.cpp"
        fields["response_format"] = _format_to_send(wanted, fields, sampling, limited=limited)
    if "stop" in fields and has_schema(fields):
        # Servers that stop there would end JSON in the middle: its strings may contain them.
        del fields["stop"]
    if "max_tokens" in fields and fields["max_tokens"] < 0:
        raise MlxcelError(
            f"max_tokens is {fields['max_tokens']}: leave it out for no limit, or pass 0 or more."
        )
    # Older servers refuse a negative seed, which elsewhere means "random".
    if "seed" in fields and fields["seed"] < 0:
        del fields["seed"]
    if "top_logprobs" in fields:
        # Servers refuse it alone, and logprobs=False beside it.
        fields.setdefault("logprobs", True)
    if fields.get("n", 1) != 1:
        raise MlxcelError("n is more than 1: the server gives one answer, so make several calls.")
    fields.pop("n", None)
    return {**fields, **(sampling.get("extra_body") or {})}


def _format_to_send(
    wanted: Any, fields: Mapping[str, Any], sampling: Mapping[str, Any], *, limited: bool
) -> Any:
    from .schemas.bounds import bounded
    from .schemas.sent_schema import format_to_send

    room = fields.get("max_tokens")
    bounding = None if sampling.get("bounded") is False else bounded
    use = sampling.get("schema_use")
    if bounding and use and use.tight:
        from .schemas.tight_bounds import tightly_bounded

        bounding = tightly_bounded
        if room is not None and asks_for_thinking(fields):
            room = answer_room(room)
    return format_to_send(wanted, room, bounding, limited=limited)


def has_schema(body: Mapping[str, Any]) -> bool:
    """Return whether the answer to a request body follows a schema.

    Completions of llama.cpp have it in another field.
    """
    wanted = body.get("response_format")
    constrained = isinstance(wanted, Mapping) and wanted.get("type") == "json_schema"
    return constrained or isinstance(body.get("json_schema"), Mapping)


def _set_stop(fields: dict[str, Any]) -> None:
    """Send ``stop`` as a list, since older servers refuse a plain string.

    An empty text is left out: llama.cpp would end the answer before its first token.
    """
    stop = fields["stop"]
    stop = [stop] if isinstance(stop, str) else as_strings("stop", stop)
    if stop := [text for text in stop if text]:
        fields["stop"] = stop
    else:
        del fields["stop"]


# --------------------------------------------------------------------------- reasoning


def with_reasoning(
    sampling: Mapping[str, Any], reasoning: bool | str | Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return fields that switch the model's thinking on or off.

    Variables of the chat template are the only switch that every server version understands;
    mlxcel up to v0.4.2 ignores the field ``reasoning_effort``. A budget of zero ends the
    thinking of models whose template has no such variable.

    Args:
        sampling: The fields of a request; those that are set already stay.
        reasoning: Whether to think, or an effort such as ``"low"`` or ``{"effort": "low"}``; None
            for the model's default.
    """
    if isinstance(reasoning, Mapping):
        reasoning = reasoning.get("effort")
    if reasoning is None:
        return dict(sampling)
    fields = dict(sampling)
    thinks = reasoning not in (False, *_NO_REASONING)
    variables: dict[str, Any] = {"enable_thinking": thinks}
    if not thinks:
        fields.setdefault("thinking_budget_tokens", 0)
    elif isinstance(reasoning, str):
        variables["reasoning_effort"] = reasoning
    return _with_variables(fields, variables)


def reasoning_read(sampling: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return fields in which ``reasoning``, if they have it, is in a form that servers know.

    A dictionary is sent as it is, since newer servers know that form.

    Raises:
        MlxcelError: It is of another type.
    """
    given = sampling.get("reasoning")
    if given is None or isinstance(given, Mapping):
        return sampling
    if not isinstance(given, bool | str):
        raise MlxcelError(
            f"reasoning={shown(given)} must be True, False, or an effort such as 'low', not "
            f"{type(given).__name__}."
        )
    fields = dict(sampling)
    return with_reasoning(fields, fields.pop("reasoning"))


def without_thinking(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a request with a schema: thinking is off, unless they ask for it.

    mlxcel applies a schema from the first token on, so that a model which thinks would write its
    JSON as a thought. If thinking is asked for, it happens in a separate request.
    """
    fields = dict(sampling)
    if asks_for_thinking(fields):
        return fields
    if fields.get("thinking_budget_tokens") == 0:
        given = fields.get("chat_template_kwargs") or {}
        return {**fields, "chat_template_kwargs": {**given, "enable_thinking": False}}
    return _with_variables(fields, {"enable_thinking": False})


def asks_for_thinking(fields: Mapping[str, Any]) -> bool:
    """Return whether the fields of a request ask the model to think, by any of their names."""
    variables = fields.get("chat_template_kwargs")
    variables = variables if isinstance(variables, Mapping) else {}
    switch, budget = variables.get("enable_thinking"), fields.get("thinking_budget_tokens")
    effort = fields.get("reasoning_effort") or variables.get("reasoning_effort")
    if switch is False or budget == 0 or effort in _NO_REASONING:
        return False
    return bool(switch or budget or effort)


def answer_room(max_tokens: int) -> int:
    """Return the part of ``max_tokens`` that is kept for an answer after thoughts."""
    return min((max_tokens + 1) // 2, ANSWER_TOKENS)


def _with_variables(fields: dict[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
    """Add variables of the chat template, unless they are set already."""
    given = fields.get("chat_template_kwargs") or {}
    check_mapping("chat_template_kwargs", given, _DICTIONARY_FIELDS["chat_template_kwargs"])
    return {**fields, "chat_template_kwargs": {**variables, **given}}


# --------------------------------------------------------------------------- progress


def asking_for_progress(sampling: Mapping[str, Any], progress: object) -> Mapping[str, Any]:
    """Return sampling fields that ask for progress if a function is given for it.

    Args:
        sampling: The fields; ``return_progress`` among them stays.
        progress: The function, None without one.

    Raises:
        MlxcelError: It cannot be called, or would have to be awaited.
    """
    if progress is not None and not callable(progress):
        raise MlxcelError(
            f"progress={shown(progress)} must be a function that takes a PromptProgress, "
            f"not {type(progress).__name__}."
        )
    if inspect.iscoroutinefunction(progress):
        raise MlxcelError(
            f"progress={shown(progress)} must be a plain function: its result is not awaited."
        )
    return sampling if progress is None else {"return_progress": True, **sampling}


def without_progress(sampling: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return sampling fields that do not ask for progress."""
    return {name: value for name, value in sampling.items() if name != "return_progress"}
