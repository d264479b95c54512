"""Weights in an ONNX file: a few messages of Protocol Buffers, written by hand."""

from __future__ import annotations

import struct

import pytest

from mlxcel_integrations.embedded.onnx import Tensor, read_tensors

FLOAT, INT8, INT64 = 1, 3, 7


def varint(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def initializer(name: str, kind: int, data: bytes, *shape: int, packed: bool = False) -> bytes:
    sizes = [field(1, b"".join(map(varint, shape)))] if packed else [field(1, n) for n in shape]
    return b"".join([*sizes, field(2, kind), field(8, name.encode()), field(9, data)])


def model(*initializers: bytes) -> bytes:
    node = field(1, field(4, b"MatMul"))
    graph = node + b"".join(field(5, one) for one in initializers)
    # Fields of other types are skipped: a version, and numbers of 64 and of 32 bits.
    others = field(1, 10) + varint(20 << 3 | 1) + bytes(8) + varint(21 << 3 | 5) + bytes(4)
    return others + field(7, graph)


@pytest.mark.parametrize("packed", [False, True])
def test_weights_are_read_in_the_order_of_the_file(packed: bool) -> None:
    floats, integers = struct.pack("<2f", 1.5, -2), bytes(300)

    found = read_tensors(
        model(
            initializer("b", FLOAT, floats, 2, packed=packed),
            initializer("a", INT8, integers, 300, 1, packed=packed),
        )
    )

    assert [Tensor("b", [2], floats), Tensor("a", [300, 1], integers)] == list(found.values())


@pytest.mark.parametrize(
    "other",
    [initializer("other", INT64, bytes(8), 1), initializer("kept elsewhere", FLOAT, b"", 1)],
)
def test_weights_of_other_forms_are_left_out(other: bytes) -> None:
    assert ["known"] == [*read_tensors(model(other, initializer("known", INT8, b"\1", 1)))]
