"""Command line and environment of a server: pure."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping

from ..embedded import BUILT_IN_EMBEDDER, is_embedded
from ..errors import MlxcelError
from ..options.fields import ServerOptions
from ..secret import Secret
from ..transport.endpoint import Endpoint
from .binary import Dialect, Executable

__all__ = ["environment", "serve_command"]

_SETTING_PREFIXES = (
    "LLAMA_ARG_",
    "LLAMA_API_KEY",
    "LLAMA_CHAT_TEMPLATE_KWARGS",
    "LLAMA_LOG_",
    "MLXCEL_",
)
"""Prefixes of environment variables that set options of servers."""

_MACHINE_VARIABLES = frozenset(
    {
        # Where models are stored and how they are downloaded. The first one names the directory of
        # downloaded models in every version, even in those whose --models-dir means something else.
        "MLXCEL_MODELS_DIR",
        "MLXCEL_CACHE_DIR",
        "MLXCEL_DEFAULT_ORG",
        "MLXCEL_ALLOW_INSECURE_ENDPOINT",
        "MLXCEL_NO_PROGRESS",
        # Resources of the machine. These have no flags.
        "MLXCEL_DEVICE",
        "MLXCEL_MEMORY_LIMIT",
        "MLXCEL_CACHE_LIMIT",
        "MLXCEL_WIRED_LIMIT",
    }
)
"""Variables with such a prefix that describe the machine, whatever server it runs."""


def serve_command(
    executable: Executable, model: str, endpoint: Endpoint, options: ServerOptions
) -> list[str]:
    """Return the command line that serves a model at an address.

    Raises:
        MlxcelError: The executable does not have an option, or no command line can hold its value.
    """
    dialect = executable.dialect
    _check_side_models(dialect, options)
    _check_speculation(dialect, options)
    words = [
        *(*executable.command, *dialect.subcommand),
        *_flag("--model", model, dialect),
        *_address_flags(endpoint, options),
        *_queue_flags(dialect, options),
    ]
    flags: dict[str, object] = {
        "--alias": options.alias,
        "--ctx-size": options.ctx_size,
        "--n-predict": options.n_predict,
        dialect.parallel: options.parallel,
        "--chat-template": options.chat_template,
        "--spec-type": options.spec_type,
        "--embedding-model": options.embedding_model,
        "--reranker-model": options.reranker_model,
    }
    for flag, value in flags.items():
        if value is not None:
            words += _flag(flag, str(value), dialect)
    if options.warmup is not None:
        words.append("--warmup" if options.warmup else "--no-warmup")
    return [_encodable(word) for word in (*words, *options.extra_args)]


def _check_side_models(dialect: Dialect, options: ServerOptions) -> None:
    """Check that a server can load the embedding and reranker models beside its main model.

    Raises:
        MlxcelError: It cannot.
    """
    if options.embedding_model and is_embedded(options.embedding_model):
        raise MlxcelError(
            f"embedding_model={options.embedding_model!r} needs a second server, but a "
            "ManagedServer is only one: pass it to LLM or an adapter, which start both, or start "
            f"ManagedServer({BUILT_IN_EMBEDDER!r})."
        )
    if not dialect.serves_side_models and (options.embedding_model or options.reranker_model):
        raise MlxcelError(
            "embedding_model= and reranker_model= need mlxcel; "
            f"{dialect.name} serves one model. Start a second server for the other, as LLM and "
            'the adapters do for embedding_model="embedded" or a .gguf file.'
        )


def _check_speculation(dialect: Dialect, options: ServerOptions) -> None:
    """Check that a server can guess tokens without a second model, if the user asks for it.

    Raises:
        MlxcelError: It cannot.
    """
    if options.spec_type is not None and not dialect.speculates_alone:
        raise MlxcelError(
            f"spec_type={options.spec_type!r} needs llama-server or the embedded engine; "
            f"{dialect.name} guesses with a second model: "
            'extra_args=("--draft-model", "path or repository id").'
        )


def _flag(flag: str, value: str, dialect: Dialect) -> list[str]:
    # mlxcel takes a word that begins with a dash for the next flag, even the -1 of --n-predict;
    # llama-server takes it for the value, but does not read "=".
    if value.startswith("-") and dialect.accepts_equals_sign:
        return [f"{flag}={value}"]
    return [flag, value]


def _queue_flags(dialect: Dialect, options: ServerOptions) -> list[str]:
    """Return the flags that make a server queue requests, without those that the user sets."""
    given = {word.partition("=")[0] for word in options.extra_args}
    return [word for pair in dialect.queueing if pair[0] not in given for word in pair]


def _encodable(word: str) -> str:
    """Return a word of a command line in a form that the system can pass on.

    Raises:
        MlxcelError: It has no such form.
    """
    # Whatever the locale cannot encode goes as UTF-8, which servers read.
    for encoding in (sys.getfilesystemencoding(), "utf-8"):
        with contextlib.suppress(UnicodeEncodeError):
            encoded = word.encode(encoding, "surrogateescape")
            if b"\0" not in encoded:
                return os.fsdecode(encoded)
    raise MlxcelError(
        f"{word!r} cannot be passed to a server: it holds a null character or half of a "
        "surrogate pair. Remove it."
    )


def _address_flags(endpoint: Endpoint, options: ServerOptions) -> list[str]:
    if endpoint.socket is not None:
        # Every version takes a path that ends in .sock together with port 0 for a socket.
        return ["--host", endpoint.socket, "--port", "0"]
    host, _, port = endpoint.url.removeprefix("http://").rpartition(":")
    # A server can listen on 0.0.0.0, all addresses of the machine; no client can connect to it.
    return ["--host", options.host or host.strip("[]"), "--port", port]


def environment(inherited: Mapping[str, str], api_key: Secret | None) -> dict[str, str]:
    """Return the environment of a server.

    Servers take defaults from variables, so those that the user has set for other servers would
    change this one, or send its log elsewhere. The key goes here and never on the command line,
    which every user of the machine can read.
    """
    result = {
        name: value
        for name, value in inherited.items()
        if name in _MACHINE_VARIABLES or not name.startswith(_SETTING_PREFIXES)
    }
    return result if api_key is None else {**result, "LLAMA_API_KEY": api_key.reveal()}
