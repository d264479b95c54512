"""GGUF files that are written, byte by byte, and read by the reader of this package."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest

from mlxcel_integrations.embedded.gguf import read_metadata
from mlxcel_integrations.embedded.gguf_writer import F32, Q8_0, GGUFTensor, quantized, write_gguf


def written(metadata: dict[str, object], *tensors: GGUFTensor) -> bytes:
    file = io.BytesIO()
    write_gguf(file, metadata, tensors)  # type: ignore[arg-type]  # values of each kind
    return file.getvalue()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, struct.pack("<I?", 7, True)),
        (384, struct.pack("<II", 4, 384)),
        (0.5, struct.pack("<If", 6, 0.5)),
        ("é", struct.pack("<IQ", 8, 2) + "é".encode()),
        ([1, -1], struct.pack("<IIQii", 9, 5, 2, 1, -1)),
        (["a"], struct.pack("<IIQQ", 9, 8, 1, 1) + b"a"),
    ],
)
def test_a_value_has_the_number_of_its_type_before_it(value: object, expected: bytes) -> None:
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k"

    content = written({"k": value})

    assert (head + expected).ljust(len(content), b"\0") == content
    assert 0 == len(content) % 32


def test_tensors_begin_at_multiples_of_32_bytes_and_have_their_shape_reversed() -> None:
    one = GGUFTensor("one", (2,), F32, struct.pack("<2f", 1, 2))
    two = GGUFTensor("two", (1, 32), Q8_0, quantized([bytes(range(32))], [0.5]))

    content = written({}, one, two)

    infos = struct.pack("<Q3sIQIQ", 3, b"one", 1, 2, 0, 0)
    infos += struct.pack("<Q3sIQQIQ", 3, b"two", 2, 32, 1, 8, 32)
    assert infos == content[24 : 24 + len(infos)]
    data = content[-96:]
    assert one.data + bytes(24) + two.data + bytes(30) == data
    assert struct.pack("<e", 0.5) + bytes(range(32)) == two.data


def test_each_block_of_a_row_has_its_scale() -> None:
    row = bytes(range(64))

    assert struct.pack("<e", 2) + row[:32] + struct.pack("<e", 2) + row[32:] == quantized(
        [row], [2]
    )


def test_data_that_does_not_fill_the_shape_is_refused() -> None:
    with pytest.raises(AssertionError, match="short"):
        written({}, GGUFTensor("short", (2,), F32, bytes(4)))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(written({"bert.context_length": 256, "bert.pooling_type": 1}))

    metadata = read_metadata(path)

    assert (256, True) == (metadata.context_length, metadata.has_pooling)
