"""Keyword arguments of the clients, for type checkers and editors.

Those that are options are written by ``python -m tests.help_texts`` as the fields of ``options``
have them; pydantic is not needed to read them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import httpx

__all__ = [
    "REQUEST_FIELDS",
    "ChatKeywords",
    "ClientKeywords",
    "CompletionKeywords",
    "ConnectionKeywords",
    "PromptKeywords",
    "RequestKeywords",
    "SamplingKeywords",
    "ServerKeywords",
]


class ConnectionKeywords(TypedDict, total=False):
    """Fields of ``ConnectionOptions``, and those of ``ChatOptions`` that a connection heeds."""

    base_url: str | None
    socket: str | os.PathLike[str] | None
    api_key: str | None
    default_headers: Mapping[str, str] | None
    session: str | None
    verify: bool | str | os.PathLike[str]
    client_cert: str | os.PathLike[str] | None
    client_key: str | os.PathLike[str] | None
    served_model: str | None
    timeout: float | httpx.Timeout | None
    connect_timeout: float
    token_timeout: float | None
    total_timeout: float | None
    max_retries: int
    check_context: bool | None
    merge_messages: bool | None


class ServerKeywords(TypedDict, total=False):
    """Fields of ``ServerOptions``."""

    binary: str | Path | None
    host: str | None
    port: int | None
    startup_timeout: float
    stall_timeout: float
    shutdown_grace: float
    share: Literal["process", "user", False]
    keep_alive: float
    restart: int
    progress: bool | None
    ctx_size: int | None
    n_predict: int | None
    parallel: int | None
    alias: str | None
    spec_type: str | None
    warmup: bool | None
    chat_template: str | None
    embedding_model: str | None
    reranker_model: str | None
    keep_prompts: bool
    keep_prompts_mb: int
    extra_args: list[str] | tuple[str, ...]


class ClientKeywords(ConnectionKeywords, ServerKeywords, total=False):
    """Options of ``LLM`` and ``AsyncLLM``."""


class RequestKeywords(TypedDict, total=False):
    """Fields of every request that are not options of adapters."""

    model: str | None
    session: str | None
    user: str | None
    bounded: bool | None
    return_progress: bool | None


class SamplingKeywords(RequestKeywords, total=False):
    """Fields of ``SamplingParams``, and others that every request may have."""

    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    typical_p: float | None
    top_n_sigma: float | None
    stop: str | Sequence[str] | None
    seed: int | None
    presence_penalty: float | None
    frequency_penalty: float | None
    repetition_penalty: float | None
    repetition_context_size: int | None
    logit_bias: Mapping[str, float] | None
    logprobs: bool | None
    top_logprobs: int | None
    response_format: Mapping[str, Any] | type | None
    dry_multiplier: float | None
    dry_base: float | None
    dry_allowed_length: int | None
    dry_penalty_last_n: int | None
    dry_sequence_breakers: Sequence[Any] | None
    xtc_probability: float | None
    xtc_threshold: float | None
    thinking_budget_tokens: int | None
    max_pattern_size: int | None
    min_pattern_size: int | None
    min_count: int | None
    chat_template_kwargs: Mapping[str, Any] | None
    cache_prompt: bool | None
    prompt_cache_key: str | None
    extra_body: Mapping[str, Any] | None


class CompletionKeywords(SamplingKeywords, total=False):
    """Fields of a text completion."""

    suffix: str | None


class PromptKeywords(SamplingKeywords, total=False):
    """Fields of a chat that change its prompt."""

    tool_choice: str | Mapping[str, Any] | None
    parallel_tool_calls: bool | None
    reasoning: bool | str | None
    reasoning_effort: str | None


class ChatKeywords(PromptKeywords, total=False):
    """Fields of a chat."""

    tools: Sequence[Mapping[str, Any]] | None


REQUEST_FIELDS = {"schema_use", *ChatKeywords.__annotations__, *CompletionKeywords.__annotations__}
"""Known names among the fields of a request, that of our own note included."""
