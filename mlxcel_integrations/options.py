"""The lists of fields, each in one place.

Every adapter class has these as mixins, so that a new field is one line here, with its help
text. The core takes the same names as keyword arguments.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError

from .errors import MlxcelError

__all__ = [
    "ChatOptions",
    "ConnectionOptions",
    "EmbeddingOptions",
    "RerankOptions",
    "SamplingParams",
    "ServerOptions",
    "nearest",
    "nearest_sampling_field",
    "server_options",
]


class ConnectionOptions(BaseModel):
    """Where the model is, and how patiently it is asked."""

    model: str | None = Field(
        default=None,
        description="Model to start a server with: a repository id or directory for mlxcel, a "
        '.gguf file, or "embedded".',
    )
    base_url: str | None = Field(
        default=None,
        description="Address of a running server, with or without /v1; unix:///path too.",
    )
    socket: str | None = Field(
        default=None,
        description="Unix socket of a running server; in managed mode, the path to bind.",
    )
    api_key: SecretStr | None = Field(
        default=None,
        exclude=True,
        description="Key of the server; MLXCEL_API_KEY if not given.",
    )
    default_headers: dict[str, SecretStr] | None = Field(
        default=None,
        exclude=True,
        description="Headers to send with every request to the server.",
    )
    session: str | None = Field(
        default=None,
        description="Name of a conversation, by which balancers send it to one server.",
    )
    verify: bool | str = Field(
        default=True,
        description="Whether the certificate of an https server is checked, or the path of the "
        "authorities to check it with.",
    )
    client_cert: str | None = Field(
        default=None, description="Path of a certificate to show to an https server."
    )
    client_key: str | None = Field(
        default=None, description="Path of its key, if that is in a file of its own."
    )
    served_model: str | None = Field(
        default=None, description="Which of several served models to use; discovered if not given."
    )
    timeout: float | None = Field(
        default=None,
        gt=0,
        description="Longest silence of the server until an answer begins, in seconds; 600.",
    )
    connect_timeout: float = Field(
        default=10.0, gt=0, description="Longest time until a connection is made, in seconds."
    )
    token_timeout: float | None = Field(
        default=None,
        gt=0,
        description="Longest time from one token to the next, in seconds; as timeout if not given.",
    )
    total_timeout: float | None = Field(
        default=None,
        gt=0,
        description="Longest time for a request and all of its answer, in seconds; no limit if "
        "not given.",
    )
    max_retries: int = Field(
        default=2, ge=0, description="How often to resend what the server has not begun to work on."
    )


class ServerOptions(BaseModel):
    """How a managed server is started."""

    binary: str | Path | None = Field(
        default=None, description="The executable: mlxcel, mlxcel-server or llama-server."
    )
    host: str | None = Field(default=None, description="Listen on TCP, on this host.")
    port: int | None = Field(
        default=None, ge=1, le=65535, description="Listen on TCP, on this port."
    )
    startup_timeout: float = Field(
        default=600.0,
        gt=0,
        description="Longest time until the server is ready, in seconds; downloads do not count.",
    )
    stall_timeout: float = Field(
        default=600.0,
        gt=0,
        description="Longest time for which a server that starts may be silent, in seconds.",
    )
    shutdown_grace: float = Field(
        default=5.0, ge=0, description="Time from SIGTERM to SIGKILL, in seconds."
    )
    share: Literal["process", "user", False] = Field(
        default="process",
        description='Who uses one server together: all objects of this "process" that ask for the '
        'same, all processes of this "user", or nobody (False).',
    )
    keep_alive: float = Field(
        default=300.0,
        ge=0,
        description='How long a server with share="user" stays after its last use, in seconds.',
    )
    restart: int = Field(
        default=5,
        ge=0,
        description="How often within five minutes a server that ended by itself is started "
        "again; 0 for never.",
    )
    progress: bool | None = Field(
        default=None,
        description="Whether to show a start that takes longer than 2 s; None does in a terminal "
        "and in a notebook.",
    )
    ctx_size: int | None = Field(
        default=None,
        ge=0,
        description="Context in tokens, shared by all slots; 0 for the model's own.",
    )
    n_predict: int | None = Field(
        default=None,
        ge=-1,
        description="Most tokens to generate when a request sets no max_tokens.",
    )
    parallel: int | None = Field(
        default=None, ge=1, description="Slots: requests that are worked on at once."
    )
    alias: str | None = Field(default=None, description="Name under which the model is served.")
    warmup: bool | None = Field(
        default=None, description="Whether to generate one token before the server is ready."
    )
    chat_template: str | None = Field(
        default=None, description="Jinja text to use instead of the model's own chat template."
    )
    embedding_model: str | None = Field(
        default=None, description="A second model, for embeddings (mlxcel)."
    )
    reranker_model: str | None = Field(
        default=None, description="A second model, for reranking (mlxcel)."
    )
    extra_args: tuple[str, ...] = Field(
        default=(), description="More arguments for the executable, as they are."
    )


LIFECYCLE_FIELDS = {
    "startup_timeout",
    "stall_timeout",
    "shutdown_grace",
    "keep_alive",
    "restart",
    "progress",
}
"""Fields of ``ServerOptions`` that make no other server of it."""


class SamplingParams(BaseModel):
    """How an answer is generated; None leaves a field to the server."""

    max_tokens: int | None = Field(default=None, ge=0, description="Most tokens to generate.")
    temperature: float | None = Field(
        default=None, ge=0, description="0 takes the likeliest token."
    )
    top_p: float | None = Field(
        default=None, description="Keep the likeliest tokens up to this sum."
    )
    top_k: int | None = Field(
        default=None, ge=0, description="Keep this many of the likeliest tokens."
    )
    min_p: float | None = Field(
        default=None, description="Keep tokens at least this likely, relative to the likeliest."
    )
    typical_p: float | None = Field(default=None, description="Locally typical sampling.")
    top_n_sigma: float | None = Field(
        default=None,
        description="Keep tokens within this many standard deviations of the likeliest.",
    )
    stop: list[str] | None = Field(default=None, description="Texts that end the answer.")
    seed: int | None = Field(
        default=None, description="Makes sampling repeatable; negative is random."
    )
    presence_penalty: float | None = Field(
        default=None, description="Against tokens that have occurred."
    )
    frequency_penalty: float | None = Field(
        default=None, description="Against tokens, by occurrences."
    )
    repetition_penalty: float | None = Field(
        default=None, description="Against repetition; 1 is none."
    )
    repetition_context_size: int | None = Field(
        default=None, description="How many tokens repetition_penalty looks back."
    )
    logit_bias: dict[str, float] | None = Field(default=None, description="Token id to bias.")
    logprobs: bool | None = Field(default=None, description="Return log probabilities.")
    top_logprobs: int | None = Field(
        default=None, ge=0, description="Return those of this many alternatives, too."
    )
    response_format: dict[str, Any] | None = Field(
        default=None, description="Constrain the answer: a json_schema."
    )
    dry_multiplier: float | None = Field(
        default=None, description="DRY repetition penalty; 0 is off."
    )
    dry_base: float | None = Field(default=None, description="Base of the DRY penalty.")
    dry_allowed_length: int | None = Field(
        default=None, description="Repetition that DRY allows, tokens."
    )
    dry_penalty_last_n: int | None = Field(
        default=None, description="How far DRY looks back, tokens."
    )
    dry_sequence_breakers: list[Any] | None = Field(
        default=None, description="What ends a sequence for DRY: token ids for mlxcel."
    )
    xtc_probability: float | None = Field(
        default=None, description="Chance to exclude top choices."
    )
    xtc_threshold: float | None = Field(
        default=None, description="From which likelihood to exclude."
    )
    thinking_budget_tokens: int | None = Field(
        default=None, ge=-1, description="Most tokens of thinking; -1 is no limit."
    )
    max_pattern_size: int | None = Field(
        default=None, description="Loop detection: longest pattern, tokens."
    )
    min_pattern_size: int | None = Field(
        default=None, description="Loop detection: shortest pattern, tokens."
    )
    min_count: int | None = Field(
        default=None, description="Loop detection: repetitions that end it."
    )
    chat_template_kwargs: dict[str, Any] | None = Field(
        default=None,
        description='Variables of the chat template, such as {"enable_thinking": False}.',
    )
    cache_prompt: bool | None = Field(default=None, description="Whether to use the prefix cache.")
    prompt_cache_key: str | None = Field(
        default=None, description="Keeps a conversation's cache together."
    )
    extra_body: dict[str, Any] | None = Field(
        default=None, description="Sent as it is; beats every other field."
    )


class EmbeddingOptions(BaseModel):
    """How texts and questions become vectors."""

    text_prefix: str = Field(
        default="",
        description='Put in front of each text, for models that want one such as "passage: ".',
    )
    query_prefix: str = Field(
        default="",
        description='Put in front of each question, for models that want one such as "query: ".',
    )
    instruction: str | None = Field(
        default=None,
        description="What is looked for, sent with questions only, for models of mlxcel that read "
        "this.",
    )
    dimensions: int | None = Field(
        default=None,
        ge=1,
        description="How many numbers a vector has, for models that can be shortened.",
    )
    skip_empty: bool = Field(
        default=False,
        description="Whether an empty text gets a vector of zeros instead of an error.",
    )


class RerankOptions(BaseModel):
    """How documents are ranked."""

    top_n: int | None = Field(
        default=3, ge=1, description="How many documents to keep; None keeps all."
    )
    instruction: str | None = Field(
        default=None, description="What relevant means, for models of mlxcel that read this."
    )


class ChatOptions(BaseModel):
    """How a conversation is sent."""

    reasoning: bool | str | None = Field(
        default=None,
        description="Whether the model thinks before it answers: True, False, or an effort such "
        'as "low"; None for its own default.',
    )
    send_reasoning: bool = Field(
        default=True,
        description="Whether the model is sent its earlier thinking; its template decides how "
        "much of it the model sees.",
    )
    send_urls: bool = Field(
        default=False,
        description="Whether the server may be sent addresses of images, sound and video, to "
        "fetch them itself, and not only data.",
    )
    check_context: bool | None = Field(
        default=None,
        description="Whether a chat that does not fit into the context is refused before it is "
        "sent; None does where the server would forget its beginning and not tell.",
    )


_ROUTE_FIELDS = {"messages", "model", "prompt", "stream", "stream_options", "n", "tools"} | {
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "session",
    "user",
    "max_completion_tokens",
    "repeat_penalty",
    "repeat_last_n",
}
"""Further fields of the routes, which are no misspellings."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a name is probably meant to be, None if there is none."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return near[0] if near else None


def nearest_sampling_field(name: str) -> str | None:
    """Return the field that an unknown name is probably meant to be, None for a known one."""
    known = SamplingParams.model_fields.keys() | _ROUTE_FIELDS
    return None if name in known else nearest(name, known)


def server_options(given: dict[str, Any]) -> ServerOptions:
    """Check the options of a managed server.

    Raises:
        MlxcelError: One is unknown, or has a value that it cannot have.
    """
    known = ServerOptions.model_fields
    for name in given:
        if name in SamplingParams.model_fields:
            raise MlxcelError(f"{name!r} is a sampling field: pass it with each request.")
        if name not in known:
            near = nearest(name, [*known, *ConnectionOptions.model_fields])
            hint = f"Did you mean {near!r}?" if near else f"There are {', '.join(known)}."
            raise MlxcelError(f"{name!r} is no option. {hint}")
    try:
        return ServerOptions(**given)
    except ValidationError as error:
        first = error.errors()[0]
        raise MlxcelError(f"{first['loc'][0]}={first['input']!r}: {first['msg']}.") from None
