"""Names of options as users write them: unknown ones are refused, with what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ..errors import MlxcelError
from ..protocol.arguments import plain, shown
from .fields import (
    ChatOptions,
    ConnectionOptions,
    EmbeddingOptions,
    RerankOptions,
    SamplingParams,
    ServerOptions,
)
from .foreign_options import foreign_hint, is_harmless, named_options, snake_case

__all__ = [
    "check_field_name",
    "demands",
    "nearest_sampling_field",
    "plain_values",
    "refusals",
    "server_options",
]

_ROUTE_FIELDS = {"messages", "model", "prompt", "stream", "stream_options", "n", "tools"} | {
    "tool_choice",
    "parallel_tool_calls",
    "bounded",
    "reasoning_effort",
    "return_progress",
    "session",
    "user",
    "max_completion_tokens",
    "repeat_penalty",
    "repeat_last_n",
}
"""Other known fields of the routes."""

_SERVER_FIELDS = {
    "n_predict",
    "grammar",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "reasoning",
} | {
    "json_schema",
    "n_probs",
    "suffix",
}
"""Fields that some servers know, and that other packages or our objects have as options, too."""

_OBJECT_OPTIONS = (
    ConnectionOptions.model_fields.keys() | ServerOptions.model_fields.keys()
) | ChatOptions.model_fields.keys()

_MODEL_OPTIONS = {
    "chat models": ChatOptions.model_fields.keys(),
    "models of text": SamplingParams.model_fields.keys(),
    "embedding models": EmbeddingOptions.model_fields.keys(),
    "rerankers": RerankOptions.model_fields.keys(),
}
"""Options that some kinds of models have."""

_SCHEMA_ARGUMENTS = ("schema", "show_schema", "max_attempts")
"""Arguments of methods that answer with an object."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelled name probably stands for, None if none is close."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return near[0] if near else None


def check_field_name(name: str) -> None:
    """Check that a name given to a call can be a field of a request.

    Raises:
        MlxcelError: It is an option of the object, an argument of other methods, or an option of
            another package that no server knows.
    """
    if name in SamplingParams.model_fields or name in _ROUTE_FIELDS or name in _SERVER_FIELDS:
        return
    if name == "progress":
        raise MlxcelError(
            "progress= is an argument of LLM.chat_stream; as an option of an object, it is for the "
            "start of a server. For the progress of a prompt elsewhere, use return_progress=True."
        )
    if name in _OBJECT_OPTIONS:
        raise MlxcelError(
            f"{name}= is an option of the object, not of a call: pass it to the constructor. For "
            "another value, make a second object."
        )
    if name in _SCHEMA_ARGUMENTS:
        raise MlxcelError(
            f"{name}= is an argument of chat, chat_stream and complete_chat only, and in LangChain "
            "of with_structured_output."
        )
    spelled = snake_case(name)
    if spelled != name and spelled in SamplingParams.model_fields:
        raise MlxcelError(_not_an_argument(name, f"Here, use {spelled}=."))
    near = nearest(name, [*_SCHEMA_ARGUMENTS, *SamplingParams.model_fields, *_ROUTE_FIELDS])
    if near in _SCHEMA_ARGUMENTS:
        raise MlxcelError(_not_an_argument(name, f"Did you mean {near}=?"))
    if not is_harmless(name):
        raise MlxcelError(_not_an_argument(name, foreign_hint(name)))


def _not_an_argument(name: str, hint: str | None) -> str:
    """Return the message about a name that a call does not take."""
    return (
        f"{name}= is not an argument. {hint} If the server has a field of this name, pass it in "
        "extra_body=."
    )


def nearest_sampling_field(name: str) -> str | None:
    """Return the field that a misspelled name probably stands for, None for a known name."""
    known = SamplingParams.model_fields.keys() | _ROUTE_FIELDS
    return None if name in known else nearest(name, known)


def server_options(given: dict[str, Any]) -> ServerOptions:
    """Check the options of a managed server.

    Raises:
        MlxcelError: An option is unknown, or its value is invalid.
    """
    known, sampling = ServerOptions.model_fields, SamplingParams.model_fields
    told = [
        f"{name!r} is a sampling field: pass it with each request."
        for name in given
        if name in sampling
    ]
    told += refusals(
        [name for name in given if name not in known.keys() | sampling.keys()],
        [*known, *ConnectionOptions.model_fields],
        refusal="{!r} is not an option.",
        options=f"The options are {', '.join(known)}.",
        has_calls=True,
    )
    if told:
        raise MlxcelError(" ".join(told))
    try:
        return ServerOptions(**plain_values(given, known))
    except ValidationError as error:
        raise MlxcelError(demands(error)) from None


def plain_values(given: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """Return the values of options, with numbers of other libraries as Python's.

    Raises:
        MlxcelError: Numbers are True or False, which Pydantic would take for 1 or 0.
    """
    values = {name: plain(value) for name, value in given.items()}
    wrong = [
        f"{name}={value} must be a {kind}, not bool"
        for name, value in values.items()
        if isinstance(value, bool)
        and name in fields
        and (kind := _NUMBER_TYPES.get(fields[name].annotation)) is not None
    ]
    if wrong:
        raise MlxcelError(f"{'; '.join(wrong)}.")
    return values


_NUMBER_TYPES: dict[object, str] = {
    **dict.fromkeys((int, int | None), "whole number"),
    **dict.fromkeys((float, float | None), "number"),
}
"""Types of options that are numbers, and what such a value must be."""


def refusals(
    names: Iterable[str],
    known: Sequence[str],
    *,
    refusal: str,
    options: str,
    has_calls: bool = False,
) -> list[str]:
    """Return sentences about all names that are not options, each with what was probably meant.

    Args:
        names: The names.
        known: The names of the options.
        refusal: The sentence about a name.
        options: The sentence that lists the options; it comes last, if a name resembles none.
        has_calls: Whether options of generation are given to each call instead.
    """
    hints = {name: _hint_for(name, known, has_calls) for name in names}
    told = [f"{refusal.format(name)} {hint or ''}".rstrip() for name, hint in hints.items()]
    return [*told, options] if None in hints.values() else told


def _hint_for(name: str, known: Sequence[str], has_calls: bool) -> str | None:
    """Return what to use instead of a name that is not an option, None if nothing is known.

    Args:
        name: The name.
        known: The names of the options.
        has_calls: Whether options of generation are given to each call instead.
    """
    hint = foreign_hint(name)
    spelled = snake_case(name)
    if spelled != name and spelled in _OBJECT_OPTIONS.union(*_MODEL_OPTIONS.values()):
        hint = f"Here, use {spelled}=."
    missing = {*named_options(hint)} - {*known} if hint is not None else {name}
    kinds = [kind for kind, options in _MODEL_OPTIONS.items() if missing and missing <= options]
    if kinds:
        if has_calls:
            return f"{hint} Pass it with each request." if hint else "Pass it with each request."
        return f"Leave it out: it is an option of {' and '.join(kinds)} only."
    if hint is not None:
        return hint
    near = nearest(name, known)
    return f"Did you mean {near!r}?" if near else None


def demands(error: ValidationError) -> str:
    """Return what values that Pydantic refuses must be, in one line with a demand for each."""
    texts: dict[str, str] = {}
    for problem in error.errors():
        name, *inner = problem["loc"] or ("",)
        # The other parts are keys, and types that the value does not have.
        place = "".join(f"[{part}]" for part in inner if isinstance(part, int))
        value = "" if name in _HIDDEN else shown(problem["input"])
        texts.setdefault(str(name), f"{name}{place}={value} {_demand(problem)}".lstrip("="))
    return f"{'; '.join(texts.values())}."


_HIDDEN = {"api_key", "default_headers", "extra_args", "extra_body"}
"""Options whose values may hold a key."""

_DEMANDS = {
    "bool": "must be True or False",
    "dict": "must be a dictionary",
    "float": "must be a number",
    "finite": "must be a finite number",
    "int": "must be a whole number",
    "list": "must be a list",
    "string": "must be a str",
    "tuple": "must be a tuple of strings",
    "path": "must be a str or a path",
}
"""Demands on values, by the beginning of Pydantic's name for what is wrong."""

_LIMITS = {
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be one of {expected}",
}


def _demand(problem: Any) -> str:
    """Return what a value that Pydantic refuses must be."""
    kind = str(problem["type"])
    if kind in _LIMITS:
        return _LIMITS[kind].format(**problem["ctx"])
    reason = problem.get("ctx", {}).get("error", problem["msg"])
    return _DEMANDS.get(kind.partition("_")[0], f"is not possible: {str(reason).rstrip('.')}")
