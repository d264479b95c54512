"""Inputs of a model, from its files: text alone, or perhaps pictures, sound or video, too."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from ..protocol.validation import as_object, as_text
from .model_store import read_config

__all__ = ["read_only_text"]

_MULTIMODAL_SIGN = re.compile(
    r"vi(?:sion|sual|t_)|image|img|pixel|patch|video|audio|speech|whisper|sound|mel_|mm_|modal"
    r"|ocr|llava|clip|vl(?![a-z])|conditionalgeneration",
    re.IGNORECASE,
)
"""Words of which at least one is in the configuration of any model that sees or hears."""

_PROCESSOR_FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)
"""Files of models that read more than text."""


def read_only_text(directories: Sequence[Path]) -> bool:
    """Return whether a model certainly reads nothing but text.

    Args:
        directories: Directories in which the server may find the model.
    """
    return bool(directories) and all(map(_reads_only_text, directories))


def _reads_only_text(directory: Path) -> bool:
    try:
        text = read_config(directory).decode()
        named = as_text(as_object(json.loads(text)).get("model_type"))
        processed = any((directory / name).exists() for name in _PROCESSOR_FILES)
    except (OSError, ValueError, RecursionError):
        return False
    return named is not None and not processed and _MULTIMODAL_SIGN.search(text) is None
