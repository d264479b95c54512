"""Options of the adapters: names, types, limits and help texts.

Adapter classes inherit these models, so a new option is one field here. The clients take the same
names as keyword arguments.

``defer_build``: all but ``ServerOptions`` are only inherited, and building validators takes time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from ..errors import MlxcelError
from ..protocol.arguments import check_mapping
from ..secret import KEY_FLAGS, key_flag
from .option_types import (
    Headers,
    Key,
    OptionalSeconds,
    PathText,
    PositiveSeconds,
    Seconds,
    Verify,
)

__all__ = [
    "LIFECYCLE_FIELDS",
    "ChatOptions",
    "ConnectionOptions",
    "EmbeddingOptions",
    "RerankOptions",
    "SamplingParams",
    "ServerOptions",
]


class ConnectionOptions(BaseModel, defer_build=True):
    """The model or server to use, and the limits of requests."""

    model: PathText = Field(
        default=None,  # type: ignore[arg-type]  # a stored value
        description="Model to start a server with: a repository id or a directory for mlxcel, a "
        '.gguf file, or "embedded" for a small built-in model.',
    )
    base_url: str | None = Field(
        default=None,
        description="Address of a running server, with or without /v1; unix:///path too.",
    )
    socket: PathText = Field(
        default=None,  # type: ignore[arg-type]  # a stored value
        description="Unix socket of a running server; in managed mode, the path to bind.",
    )
    api_key: Key = Field(
        default=None,  # type: ignore[arg-type]  # a stored value
        exclude=True,
        description="Key of the server; MLXCEL_API_KEY if not given.",
    )
    default_headers: Headers = Field(
        default=None,  # type: ignore[arg-type]  # a stored value
        exclude=True,
        description="Headers to send with every request to the server.",
    )
    session: str | None = Field(
        default=None,
        description="Name of the conversation, by which balancers keep it on one server; each chat "
        "or completion can name another.",
    )
    verify: Verify = Field(
        default=True,  # type: ignore[arg-type]  # a stored value
        description="Whether to check the certificate of an https server, or the path of the "
        "authorities to trust.",
    )
    client_cert: PathText = Field(
        default=None,  # type: ignore[arg-type]  # a stored value
        description="Path of the certificate to present to an https server.",
    )
    client_key: PathText = Field(
        default=None,  # type: ignore[arg-type]  # a stored value
        description="Path of its key, if that is in a separate file.",
    )
    served_model: str | None = Field(
        default=None, description="Which of several served models to use; discovered if not given."
    )
    timeout: OptionalSeconds = Field(
        default=None,
        description="Longest silence of the server until an answer begins, in seconds; 600 if not "
        "given. Reading a long prompt takes a while. An httpx.Timeout sets connect_timeout, too.",
    )
    connect_timeout: PositiveSeconds = Field(
        default=10.0, description="Longest time until a connection is made, in seconds."
    )
    token_timeout: OptionalSeconds = Field(
        default=None,
        description="Longest time from one token to the next, in seconds; timeout if not given.",
    )
    total_timeout: OptionalSeconds = Field(
        default=None,
        description="Longest time for a request and all of its answer, in seconds; no limit if "
        "not given.",
    )
    max_retries: int = Field(
        default=2,
        ge=0,
        description="How often to resend a request that the server has not started to process.",
    )


class ServerOptions(BaseModel):
    """Options of a managed server."""

    binary: str | Path | None = Field(
        default=None, description="The executable: mlxcel, mlxcel-server or llama-server."
    )
    host: str | None = Field(default=None, description="Listen on TCP, on this host.")
    port: int | None = Field(
        default=None, ge=1, le=65535, description="Listen on TCP, on this port."
    )
    startup_timeout: PositiveSeconds = Field(
        default=600.0,
        description="Longest time until the server is ready, in seconds; downloads do not count.",
    )
    stall_timeout: PositiveSeconds = Field(
        default=600.0,
        description="Longest time for which a starting server may be silent, in seconds.",
    )
    shutdown_grace: Seconds = Field(
        default=5.0, description="Time from SIGTERM to SIGKILL, in seconds."
    )
    share: Literal["process", "user", False] = Field(
        default="process",
        description='Who shares the server: objects of this "process" with the same options, all '
        'processes of this "user", or nobody (False).',
    )
    keep_alive: Seconds = Field(
        default=300.0,
        description='How long a server with share="user" stays after its last use, in seconds.',
    )
    restart: int = Field(
        default=5,
        ge=0,
        description="How often to restart a server that ends unexpectedly, within five minutes; "
        "0 for never.",
    )
    progress: bool | None = Field(
        default=None,
        description="Whether to show the progress of a start that takes longer than 2 s; None "
        "shows it in terminals and notebooks.",
    )
    ctx_size: int | None = Field(
        default=None,
        ge=0,
        description="Context in tokens, shared by all slots; 0 for the model's own.",
    )
    n_predict: int | None = Field(
        default=None,
        ge=-1,
        description="Maximum number of tokens to generate if a request sets no max_tokens.",
    )
    parallel: int | None = Field(
        default=None, ge=1, description="Number of slots: requests processed at once."
    )
    alias: str | None = Field(default=None, description="Name under which the model is served.")
    spec_type: str | None = Field(
        default=None,
        description='What guesses tokens ahead without a second model, such as "ngram-simple", '
        "which takes them from the text so far (llama-server, embedded engine).",
    )
    warmup: bool | None = Field(
        default=None, description="Whether to generate one token before the server is ready."
    )
    chat_template: str | None = Field(
        default=None, description="Jinja text to use instead of the model's own chat template."
    )
    embedding_model: str | None = Field(
        default=None,
        description="A second model, for embeddings: for mlxcel to serve, or a .gguf file or "
        '"embedded" for a second server.',
    )
    reranker_model: str | None = Field(
        default=None, description="A second model, for reranking (mlxcel)."
    )
    keep_prompts: bool = Field(
        default=False,
        description="Whether to keep the prompts in the slots on the disk when the server stops, "
        "and to restore them at its next start (llama.cpp).",
    )
    keep_prompts_mb: int = Field(
        default=1024,
        ge=1,
        description="Most space that the kept prompts of all servers take, in MB; the oldest go "
        "first.",
    )
    extra_args: tuple[str, ...] = Field(
        default=(), description="Further arguments for the executable, passed unchanged."
    )

    @field_validator("binary", mode="before")
    @classmethod
    def _accept_path(cls, value: Any) -> Any:
        if not isinstance(value, os.PathLike):
            return value
        path = os.fsdecode(value)
        # A name alone would be searched for on PATH.
        return path if os.sep in path else f".{os.sep}{path}"

    @field_validator("keep_alive", mode="before")
    @classmethod
    def _refuse_forever(cls, value: Any) -> Any:
        # In Ollama, a negative keep_alive keeps a model forever.
        if str(value).startswith("-"):
            raise MlxcelError(
                f"keep_alive={value!r} must be at least 0: for a server that stays, pass a large "
                "number of seconds."
            )
        return value

    @field_validator("extra_args", mode="before")
    @classmethod
    def _refuse_keys(cls, value: Any) -> Any:
        if isinstance(value, str):
            # Not shown: it may hold a key.
            raise MlxcelError(
                "extra_args= is a single string: pass a tuple with each word, such as "
                "('--threads', '4')."
            )
        words = value if isinstance(value, list | tuple) else ()
        for flag in words:
            name = key_flag(flag)
            if name is not None:
                raise MlxcelError(
                    f"extra_args= has {name}, and every user of the machine can read command "
                    f"lines: {KEY_FLAGS[name]}."
                )
        return value


LIFECYCLE_FIELDS = {
    "startup_timeout",
    "stall_timeout",
    "shutdown_grace",
    "keep_alive",
    "restart",
    "progress",
    "keep_prompts_mb",
}
"""Fields of ``ServerOptions`` that do not change which server is started."""


class SamplingParams(BaseModel, defer_build=True):
    """Sampling fields of requests; None leaves a field to the server."""

    max_tokens: int | None = Field(
        default=None, ge=0, description="Maximum number of tokens to generate."
    )
    temperature: float | None = Field(
        default=None, ge=0, description="0 always takes the likeliest token."
    )
    top_p: float | None = Field(
        default=None, description="Keep the likeliest tokens, up to this total probability."
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
        default=None, description="Seed for repeatable sampling; a negative one is random."
    )
    presence_penalty: float | None = Field(
        default=None, description="Penalty for tokens that have occurred."
    )
    frequency_penalty: float | None = Field(
        default=None, description="Penalty for tokens, for each time they have occurred."
    )
    repetition_penalty: float | None = Field(
        default=None, description="Penalty for repetition; 1 is off."
    )
    repetition_context_size: int | None = Field(
        default=None, description="How many tokens repetition_penalty looks back."
    )
    logit_bias: dict[str, float] | None = Field(
        default=None, description="Biases of tokens, by their ids."
    )
    logprobs: bool | None = Field(default=None, description="Return log probabilities.")
    top_logprobs: int | None = Field(
        default=None,
        ge=0,
        description="Return log probabilities, and those of this many alternatives.",
    )
    response_format: Any = Field(
        default=None,
        description="Form of the answer: a type, a JSON schema, or a whole response_format.",
    )
    dry_multiplier: float | None = Field(
        default=None, description="DRY repetition penalty; 0 is off."
    )
    dry_base: float | None = Field(default=None, description="Base of the DRY penalty.")
    dry_allowed_length: int | None = Field(
        default=None, description="Longest repetition that DRY allows, in tokens."
    )
    dry_penalty_last_n: int | None = Field(
        default=None, description="How far DRY looks back, in tokens."
    )
    dry_sequence_breakers: list[Any] | None = Field(
        default=None, description="Tokens that end a sequence for DRY; ids for mlxcel."
    )
    xtc_probability: float | None = Field(
        default=None, description="Probability of excluding the likeliest tokens."
    )
    xtc_threshold: float | None = Field(
        default=None, description="Probability from which XTC excludes tokens."
    )
    thinking_budget_tokens: int | None = Field(
        default=None, ge=-1, description="Maximum number of thinking tokens; -1 for no limit."
    )
    max_pattern_size: int | None = Field(
        default=None, description="Loop detection: longest pattern, in tokens."
    )
    min_pattern_size: int | None = Field(
        default=None, description="Loop detection: shortest pattern, in tokens."
    )
    min_count: int | None = Field(
        default=None, description="Loop detection: repetitions that end the answer."
    )
    chat_template_kwargs: dict[str, Any] | None = Field(
        default=None,
        description='Variables of the chat template, such as {"enable_thinking": False}.',
    )
    cache_prompt: bool | None = Field(default=None, description="Whether to use the prefix cache.")
    prompt_cache_key: str | None = Field(
        default=None, description="Keeps the cache of a conversation together."
    )
    extra_body: dict[str, Any] | None = Field(
        default=None, description="Further fields, sent unchanged; they override all others."
    )

    @field_validator("stop", mode="before")
    @classmethod
    def _accept_one_stop(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("extra_body", mode="before")
    @classmethod
    def _refuse_others(cls, value: Any) -> Any:
        check_mapping("extra_body", value, '{"name": 1}')
        return value


class EmbeddingOptions(BaseModel, defer_build=True):
    """Options of embeddings."""

    text_prefix: str = Field(
        default="",
        description='Prefix of each text, for models that expect one such as "passage: ".',
    )
    query_prefix: str = Field(
        default="",
        description='Prefix of each query, for models that expect one such as "query: ".',
    )
    instruction: str | None = Field(
        default=None,
        description="What to search for, sent with queries only; used by some models of mlxcel.",
    )
    dimensions: int | None = Field(
        default=None,
        ge=1,
        description="Length of the vectors, for models that can shorten them.",
    )
    skip_empty: bool = Field(
        default=False,
        description="Whether an empty text gets a vector of zeros, instead of raising an error.",
    )
    truncate: bool = Field(
        default=False,
        description="Whether to cut a text that has more tokens than the model embeds, instead of "
        "raising an error.",
    )


class RerankOptions(BaseModel, defer_build=True):
    """Options of reranking."""

    top_n: int | None = Field(
        default=3, ge=1, description="How many documents to keep; None keeps all."
    )
    instruction: str | None = Field(
        default=None, description="What counts as relevant; used by some models of mlxcel."
    )


class ChatOptions(BaseModel, defer_build=True):
    """Options of chats."""

    reasoning: bool | str | dict[str, Any] | None = Field(
        default=None,
        description="Whether the model thinks before it answers: True, False, or an effort such "
        'as "low" or, as OpenAI has it, {"effort": "low"}; None for the model\'s default.',
    )
    return_progress: bool = Field(
        default=False,
        description="Whether to report how much of the prompt is read before the first token; "
        "asked of servers that are known to do so (llama.cpp).",
    )
    send_reasoning: bool = Field(
        default=True,
        description="Whether to send the model its earlier thinking; its template decides how "
        "much of it the model sees.",
    )
    send_urls: bool = Field(
        default=False,
        description="Whether images, sound and video may be sent as addresses, which the server "
        "fetches itself.",
    )
    check_context: bool | None = Field(
        default=None,
        description="Whether to refuse a prompt that does not fit into the context instead of "
        "sending it; by default where the server would silently drop its beginning.",
    )
    merge_messages: bool | None = Field(
        default=None,
        description="Whether to join messages of one role that follow each other, and to put the "
        "system message before the first question; by default once the chat template has "
        "refused them.",
    )
