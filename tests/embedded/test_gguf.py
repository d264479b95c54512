"""What a GGUF file says about its model."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from mlxcel_integrations.embedded.gguf import Metadata, read_metadata
from mlxcel_integrations.embedded.model import locate_model
from mlxcel_integrations.errors import MlxcelError

NOTHING = Metadata(has_chat_template=False, has_pooling=False, context_length=None)


def number(key: bytes, value: int, kind: int = 4) -> bytes:
    return key + struct.pack("<II", kind, value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"...", NOTHING),
        (b"...tokenizer.chat_template...", Metadata(True, False, None)),
        (b"...bert.pooling_type...", Metadata(False, True, None)),
        (number(b"gemma3.context_length", 32768), Metadata(False, False, 32768)),
        (
            number(b"x.context_length", 4096) + b"tokenizer.chat_template",
            Metadata(True, False, 4096),
        ),
        # Of another type, or cut off.
        (number(b"x.context_length", 4096, kind=8), NOTHING),
        (b"x.context_length\x04\0\0\0", NOTHING),
    ],
)
def test_metadata_is_found_wherever_it_stands(
    content: bytes, expected: Metadata, tmp_path: Path
) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF" + content)

    assert expected == read_metadata(path)


@pytest.mark.parametrize("content", [b"", b"GGU", b"<html>Not found</html>"])
def test_another_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)

    with pytest.raises(MlxcelError, match=r"x\.gguf is not a GGUF file: it starts with b'"):
        read_metadata(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(MlxcelError, match=r"Cannot read the model .*: No such file"):
        read_metadata(tmp_path / "none.gguf")
    with pytest.raises(MlxcelError, match=r"Cannot read the model .*: Is a directory"):
        read_metadata(tmp_path)


@pytest.mark.engine
def test_the_built_in_model_has_no_template_and_a_long_context(tmp_path: Path) -> None:
    expected = Metadata(has_chat_template=False, has_pooling=False, context_length=32768)

    assert expected == read_metadata(locate_model("embedded", tmp_path))
