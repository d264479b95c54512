"""The model's own ``tokenizer.json`` counts where it agrees with the server."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.llama_index import Mlxcel, MlxcelTokenizer
from tests.fakes.server import FakeServer, Reply, Seen
from tests.llama_index.conftest import STORY


class ByteServer(FakeServer):
    """A server whose tokens are bytes.

    Args:
        folder: Where its model is.
        shift: What is added to each byte.
    """

    def __init__(self, folder: Path, shift: int = 0) -> None:
        self.folder = folder
        self.shift = shift
        super().__init__()

    def reply(self, seen: Seen) -> Reply:
        if seen.path == "/props":
            return Reply.json({"model_path": str(self.folder), "eos_token": ""})
        if seen.path == "/tokenize":
            data = seen.json["content"].encode()
            return Reply.json({"tokens": [byte + self.shift for byte in data]})
        return super().reply(seen)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder with a tokenizer for which tokens are bytes, and texts have an end."""
    pytest.importorskip("tokenizers")
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)}
    model = {"type": "BPE", "vocab": vocabulary, "merges": [], "byte_fallback": True}
    shortest = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    content = {"version": "1.0", "added_tokens": [], "truncation": shortest, "model": model}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    return tmp_path


def test_the_file_of_the_model_counts_without_the_server(folder: Path) -> None:
    with ByteServer(folder) as server, Mlxcel(base_url=server.url) as llm:
        assert 3 == len(llm.tokenizer("one"))
        server.requests.clear()

        tokens = llm.tokenizer(STORY)
        assert list(STORY.encode()) == tokens
        llm.tokenizer.prime(STORY)
        assert [] == server.requests


def test_a_file_can_be_named(folder: Path) -> None:
    file = folder / "tokenizer.json"
    with ByteServer(Path("nowhere")) as server, Mlxcel(base_url=server.url) as llm:
        tokenizer = MlxcelTokenizer(llm, file)
        assert 3 == len(tokenizer("one"))
        copy = pickle.loads(pickle.dumps(tokenizer))
        assert 5 == len(copy("three"))
        server.requests.clear()

        assert [4, 4] == [len(tokenizer("four")), len(copy("four"))]
        assert [] == server.requests


def test_a_file_that_disagrees_is_not_used_after_one_warning(folder: Path) -> None:
    with ByteServer(folder, shift=1) as server, Mlxcel(base_url=server.url) as llm:
        with pytest.warns(UserWarning, match="not the tokenizer of the served model") as warned:
            first = llm.tokenizer("one")
        assert [byte + 1 for byte in b"one"] == first
        assert 3 == len(llm.tokenizer("two"))

    assert 1 == len(warned)


@pytest.mark.parametrize("content", [None, "{"])
def test_a_file_that_cannot_be_read_is_an_error_only_if_it_was_named(
    folder: Path, content: str | None
) -> None:
    file = folder / "tokenizer.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
    with ByteServer(folder) as server, Mlxcel(base_url=server.url) as llm:
        named = MlxcelTokenizer(llm, file)
        for _ in range(2):
            with pytest.raises(MlxcelError, match="Cannot read the tokenizer"):
                named("one")
        assert 3 == len(Mlxcel(base_url=server.url).tokenizer("one"))
