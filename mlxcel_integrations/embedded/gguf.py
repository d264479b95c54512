"""Metadata of a GGUF file, read without loading the model."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import NamedTuple

from ..errors import MlxcelError

__all__ = ["Metadata", "read_metadata"]


class Metadata(NamedTuple):
    """Facts about a model that the engine needs before it starts.

    Attributes:
        has_chat_template: Whether it has its own chat template.
        has_pooling: Whether it was made for embeddings, with its own pooling.
        context_length: Tokens of context that it was made for, None if the file does not say.
    """

    has_chat_template: bool
    has_pooling: bool
    context_length: int | None


# All metadata comes before the weights; its largest part, the vocabulary, is a few MB.
_SEARCHED_BYTES = 64 * 2**20

_BYTES_BEFORE_VOCABULARY = 2**20

# A key is followed by its type, 4 for a number of 32 bits, and its value.
_TYPE_AND_NUMBER = struct.Struct("<II")


def read_metadata(path: Path) -> Metadata:
    """Read the metadata of a model.

    Raises:
        MlxcelError: The file cannot be read, or is not a GGUF file.
    """
    _check_format(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return Metadata(
            has_chat_template=data.find(b"tokenizer.chat_template", 0, _SEARCHED_BYTES) != -1,
            # Only before the vocabulary: in a chat model, there is nothing to find in all the rest.
            has_pooling=data.find(b".pooling_type", 0, _BYTES_BEFORE_VOCABULARY) != -1,
            context_length=_read_number(data, b".context_length"),
        )


def _check_format(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise MlxcelError(
            f"Cannot read the model {path}: {error.strerror}. Check the path."
        ) from None
    if magic != b"GGUF":
        raise MlxcelError(
            f"{path} is not a GGUF file: it starts with {magic!r}. If it was downloaded, "
            "download it again; models in other formats need mlxcel."
        )


def _read_number(data: mmap.mmap, key: bytes) -> int | None:
    position = data.find(key, 0, _SEARCHED_BYTES)
    if position == -1 or len(data) < position + len(key) + _TYPE_AND_NUMBER.size:
        return None
    kind, value = _TYPE_AND_NUMBER.unpack_from(data, position + len(key))
    return int(value) if kind == 4 else None
