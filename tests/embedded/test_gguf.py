"""Metadata that a GGUF file has about its model."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxcel_integrations.embedded.gguf import Metadata, read
from mlxcel_integrations.embedded.model import locate

pytestmark = pytest.mark.engine


def test_the_built_in_model_has_no_template_and_a_long_context(tmp_path: Path) -> None:
    expected = Metadata(has_chat_template=False, has_pooling=False, context_length=32768)

    assert expected == read(locate("embedded", tmp_path))


def test_a_template_and_a_pooling_in_the_file_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "chat.gguf"
    path.write_bytes(b"GGUF...tokenizer.chat_template...bert.pooling_type...")

    assert Metadata(has_chat_template=True, has_pooling=True, context_length=None) == read(path)
