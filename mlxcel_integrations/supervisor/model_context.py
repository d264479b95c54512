"""Context window of a model, from its ``config.json`` or the header of its GGUF file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..embedded.gguf import read_metadata
from ..errors import MlxcelError
from ..protocol.features import TrainedContext
from ..protocol.validation import as_count, as_object
from .model_store import read_config

__all__ = ["agreed_context", "config_context", "directory_context", "gguf_context"]

_MAX_WINDOW = 2**31
"""Windows from here on stand for "no limit"."""

_LANGUAGE_MODELS = ("text_config", "llm_config", "language_config")
"""Keys of the language model in the configuration of a model that also sees or hears."""


def agreed_context(directories: Sequence[Path]) -> TrainedContext | None:
    """Return the context window in which all directories of a model agree, None without one."""
    found = [directory_context(directory) for directory in directories]
    sizes = {context.size if context is not None else None for context in found}
    return found[0] if len(sizes) == 1 else None


def directory_context(directory: Path) -> TrainedContext | None:
    """Return the context window from the ``config.json`` of a directory, None if unknown."""
    try:
        size = config_context(json.loads(read_config(directory)))
    except (OSError, ValueError, RecursionError):
        return None
    return TrainedContext(size, str(directory / "config.json")) if size is not None else None


def gguf_context(path: Path) -> TrainedContext | None:
    """Return the context window from the header of a GGUF file, None if unknown."""
    try:
        size = read_metadata(path).context_length
    except (MlxcelError, OSError, ValueError):
        return None
    return TrainedContext(size, str(path)) if size else None


def config_context(config: Any) -> int | None:
    """Return the context window from the content of a ``config.json``, None if unknown.

    Versions of mlxcel that report a window take ``max_position_embeddings``, too, but do not count
    an extension by YaRN.
    """
    whole = as_object(config)
    for part in (whole, *(as_object(whole.get(key)) for key in _LANGUAGE_MODELS)):
        # GPT-2 and its kin name it n_positions.
        trained = as_count(part.get("max_position_embeddings")) or as_count(part.get("n_positions"))
        if trained is not None:
            size = max(trained, _yarn_context(part))
            return size if size < _MAX_WINDOW else None
    return None


def _yarn_context(part: Mapping[str, Any]) -> int:
    """Return the window after YaRN, the one scaling whose result is unambiguous; 0 without it."""
    scaling = as_object(part.get("rope_scaling")) or as_object(part.get("rope_parameters"))
    kind = scaling.get("rope_type") or scaling.get("type")
    original = as_count(scaling.get("original_max_position_embeddings"))
    factor: Any = scaling.get("factor")
    if kind != "yarn" or original is None or type(factor) not in (int, float) or not factor > 0:
        return 0
    return int(min(min(original, _MAX_WINDOW) * factor, _MAX_WINDOW))
