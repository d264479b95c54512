"""Weights of an ONNX file, read without the packages that run such models."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Tensor", "read_tensors"]

# Numbers of the fields that are read here; all others are skipped.
_GRAPH_OF_MODEL, _INITIALIZER_OF_GRAPH = 7, 5
_DIMENSIONS, _TYPE, _NAME, _DATA = 1, 2, 8, 9

_ITEM_BYTES = {1: 4, 3: 1}
"""Bytes of a number by its type: 1 is a float of 32 bits, 3 an integer of 8."""


@dataclass(slots=True)
class Tensor:
    """Weights with a name, their numbers as bytes in row-major order.

    Attributes:
        name: Name in the graph.
        shape: Length of each dimension.
        data: The numbers, little-endian.
    """

    name: str = ""
    shape: list[int] = field(default_factory=list)
    data: bytes = b""


def read_tensors(content: bytes) -> dict[str, Tensor]:
    """Return the weights of a model by name, in the order of the file.

    Args:
        content: The file, whose weights are floats of 32 bits or integers of 8; others are left
            out.
    """
    (graph,) = (part for number, part in _fields(memoryview(content)) if number == _GRAPH_OF_MODEL)
    tensors: dict[str, Tensor] = {}
    for number, part in _fields(graph):
        if number == _INITIALIZER_OF_GRAPH and (tensor := _tensor(part)) is not None:
            tensors[tensor.name] = tensor
    return tensors


def _tensor(content: memoryview) -> Tensor | None:
    tensor, kind = Tensor(), 0
    for number, value in _fields(content):
        if number == _DIMENSIONS:
            tensor.shape += [value] if isinstance(value, int) else _varints(value)
        elif number == _TYPE:
            kind = value
        elif number == _NAME:
            tensor.name = str(value, "utf-8")
        elif number == _DATA:
            tensor.data = bytes(value)
    if len(tensor.data) != math.prod(tensor.shape) * _ITEM_BYTES.get(kind, 0):
        return None
    return tensor


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield the number of each field of a Protocol Buffers message, with its value."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        value: Any
        match key & 7:
            case 0:
                value, at = _varint(message, at)
            case 2:
                size, at = _varint(message, at)
                value, at = message[at : at + size], at + size
            case kind:
                size = 8 if kind == 1 else 4
                value, at = message[at : at + size], at + size
        yield key >> 3, value


def _varints(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return a number, which ends at the first byte below 128, and the place after it."""
    value = shift = 0
    while data[at] > 127:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
    return value | data[at] << shift, at + 1
