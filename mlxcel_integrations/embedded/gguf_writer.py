"""Writer of GGUF files.

The package ``gguf`` writes them, too, but needs numpy, and each of its releases may order a file
differently. With the same bytes on every machine, a checksum can verify a model in the cache.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["F32", "Q8_0", "GGUFTensor", "quantized", "write_gguf"]

_VERSION = 3
_ALIGNMENT = 32
_BLOCK_SIZE = 32
"""Numbers of a Q8_0 tensor that share a scale."""

Value = str | int | float | bool | Sequence[str] | Sequence[int]


@dataclass(frozen=True, slots=True)
class TensorType:
    """Form of the numbers of a tensor.

    Attributes:
        code: Its number in the file.
        block: How many numbers are stored together.
        block_bytes: How many bytes they take.
    """

    code: int
    block: int
    block_bytes: int


F32 = TensorType(0, 1, 4)
Q8_0 = TensorType(8, _BLOCK_SIZE, _BLOCK_SIZE + 2)


@dataclass(frozen=True, slots=True)
class GGUFTensor:
    """Weights with a name.

    Attributes:
        name: Name by which llama.cpp finds them.
        shape: Length of each dimension; the last is the length of a row.
        type: Form of the numbers.
        data: The numbers, row by row.
    """

    name: str
    shape: Sequence[int]
    type: TensorType
    data: bytes


def write_gguf(
    file: BinaryIO, metadata: Mapping[str, Value], tensors: Sequence[GGUFTensor]
) -> None:
    """Write a model.

    Args:
        file: An empty file.
        metadata: Facts about the model; whole numbers are written with 32 bits.
        tensors: Its weights.
    """
    file.write(b"GGUF" + struct.pack("<IQQ", _VERSION, len(tensors), len(metadata)))
    for key, value in metadata.items():
        file.write(_text(key) + _typed_value(value))
    offset = 0
    for tensor in tensors:
        file.write(_text(tensor.name) + _tensor_info(tensor, offset))
        offset += len(tensor.data) + _padding(len(tensor.data))
    file.write(bytes(_padding(file.tell())))
    for tensor in tensors:
        file.write(tensor.data + bytes(_padding(len(tensor.data))))


def quantized(rows: Iterable[bytes], scales: Iterable[float]) -> bytes:
    """Return the numbers of a Q8_0 tensor.

    Args:
        rows: Signed bytes of each row, as many as fill whole blocks.
        scales: Factor for the bytes of each row.
    """
    return b"".join(
        part
        for row, scale in zip(rows, map(_HALF_FLOAT.pack, scales), strict=True)
        for first in range(0, len(row), _BLOCK_SIZE)
        for part in (scale, row[first : first + _BLOCK_SIZE])
    )


_HALF_FLOAT = struct.Struct("<e")


def _tensor_info(tensor: GGUFTensor, offset: int) -> bytes:
    kind, count = tensor.type, math.prod(tensor.shape)
    assert len(tensor.data) == count // kind.block * kind.block_bytes, tensor.name
    sizes = [len(tensor.shape), *reversed(tensor.shape)]
    return struct.pack(f"<I{len(tensor.shape)}QIQ", *sizes, kind.code, offset)


def _padding(size: int) -> int:
    return -size % _ALIGNMENT


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _typed_value(value: Value) -> bytes:
    """Return a value after the number of its type."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    return _array(value)


def _array(values: Sequence[str] | Sequence[int]) -> bytes:
    texts = [_text(value) for value in values if isinstance(value, str)]
    numbers = [value for value in values if isinstance(value, int)]
    head = struct.pack("<IIQ", 9, 8 if texts else 5, len(values))
    return head + b"".join(texts) + struct.pack(f"<{len(numbers)}i", *numbers)
