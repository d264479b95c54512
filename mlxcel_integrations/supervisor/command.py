"""The command line and the environment of a server: pure."""

from __future__ import annotations

from collections.abc import Mapping

from ..endpoint import Endpoint
from ..errors import MlxcelError
from ..options import ServerOptions
from .binary import Executable

__all__ = ["arguments", "environment"]


def arguments(
    executable: Executable, model: str, endpoint: Endpoint, options: ServerOptions
) -> list[str]:
    """Return the command line that serves a model at an address.

    Raises:
        MlxcelError: The executable has no such option.
    """
    dialect = executable.dialect
    if not dialect.second_models and (options.embedding_model or options.reranker_model):
        raise MlxcelError(
            "embedding_model= and reranker_model= need mlxcel; "
            f"{dialect.name} serves one model. Start a second server for the other."
        )
    result = [*executable.command, *dialect.words, "-m", model, *_address(endpoint, options)]
    flags: dict[str, object] = {
        "--alias": options.alias,
        "--ctx-size": options.ctx_size,
        "--n-predict": options.n_predict,
        dialect.parallel: options.parallel,
        "--chat-template": options.chat_template,
        "--embedding-model": options.embedding_model,
        "--reranker-model": options.reranker_model,
    }
    for flag, value in flags.items():
        if value is not None:
            result += [flag, str(value)]
    if options.warmup is not None:
        result.append("--warmup" if options.warmup else "--no-warmup")
    return [*result, *options.extra_args]


def _address(endpoint: Endpoint, options: ServerOptions) -> list[str]:
    if endpoint.socket is not None:
        # A path that ends in .sock and port 0 together mean a socket for every version.
        return ["--host", endpoint.socket, "--port", "0"]
    host, _, port = endpoint.url.removeprefix("http://").rpartition(":")
    # All addresses of the machine are a place to listen, but none to connect to.
    return ["--host", options.host or host.strip("[]"), "--port", port]


def environment(inherited: Mapping[str, str], api_key: str | None) -> dict[str, str]:
    """Return the environment of a server.

    Servers take every default from ``LLAMA_ARG_*`` variables, so what the user has set for other
    servers would change this one. The key goes here and never on the command line, which every
    user of the machine can read.
    """
    result = {
        name: value
        for name, value in inherited.items()
        if not name.startswith("LLAMA_ARG_") and name not in ("LLAMA_API_KEY", "MLXCEL_API_KEY")
    }
    if api_key is not None:
        result["LLAMA_API_KEY"] = api_key
    return result
