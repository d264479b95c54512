"""The context window of a model is read from its own files, or stays unknown."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations.embedded.model import locate_model
from mlxcel_integrations.protocol.features import TrainedContext
from mlxcel_integrations.supervisor.model_context import (
    agreed_context,
    config_context,
    directory_context,
    gguf_context,
)


def yarn(factor: Any = 4.0, original: Any = 32768, kind: str = "yarn") -> dict[str, Any]:
    return {"rope_type": kind, "factor": factor, "original_max_position_embeddings": original}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"n_positions": 1024}, 1024),
        ({"max_position_embeddings": 4096, "n_positions": 1024}, 4096),
        ({"text_config": {"max_position_embeddings": 8192}}, 8192),
        ({"llm_config": {"max_position_embeddings": 8192}}, 8192),
        ({"language_config": {"max_position_embeddings": 8192}}, 8192),
        # The window of the whole is the one that mlxcel reports.
        ({"max_position_embeddings": 4, "text_config": {"max_position_embeddings": 8}}, 4),
        # That of the eyes is no window for a prompt.
        ({"vision_config": {"max_position_embeddings": 577}}, None),
        ({"sliding_window": 1024}, None),
        ({}, None),
        ([], None),
        (None, None),
        ("max_position_embeddings", None),
        ({"text_config": [{"max_position_embeddings": 8192}]}, None),
        *(
            ({"max_position_embeddings": value}, None)
            for value in (0, -1, None, True, "4096", 4096.0, [4096], 2**31, 10**400)
        ),
    ],
)
def test_a_configuration_tells_the_window(config: Any, expected: int | None) -> None:
    assert expected == config_context(config)


@pytest.mark.parametrize(
    ("window", "scaling", "expected"),
    [
        (32768, yarn(), 131072),
        (40960, yarn(), 131072),
        (131072, yarn(32, 4096), 131072),
        (163840, yarn(40, 4096), 163840),
        (32768, {**yarn(), "rope_type": None, "type": "yarn"}, 131072),
        (32768, yarn(1.5, 32768), 49152),
        # These windows already count the scaling, or it does not say so.
        (131072, yarn(32.0, 8192, "llama3"), 131072),
        (131072, yarn(32, 4096, "longrope"), 131072),
        (131072, {"rope_type": "linear", "factor": 8.0}, 131072),
        (32768, {"full_attention": yarn()}, 32768),
        (32768, yarn(original=None), 32768),
        *((32768, yarn(factor), 32768) for factor in (None, "4", True, 0, -4, float("nan"))),
        *((32768, yarn(factor), None) for factor in (float("inf"), 10**400)),
        (32768, yarn(original=10**400), None),
        (32768, "yarn", 32768),
    ],
)
@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_only_an_unambiguous_extension_counts(
    window: int, scaling: Any, expected: int | None, key: str
) -> None:
    config = {"max_position_embeddings": window, key: scaling}

    assert expected == config_context(config)
    assert expected == config_context({"text_config": config})


def test_a_directory_tells_the_window_and_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"max_position_embeddings": 4096}')

    assert TrainedContext(4096, str(path)) == directory_context(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"max_position_embeddings": ' + b"9" * 5000 + b"}",
        b'{"max_position_embeddings": 4096}' + b" " * 2**24,
    ],
    ids=["empty", "cut", "no text", "deep", "long number", "huge"],
)
def test_a_broken_configuration_tells_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)

    assert directory_context(tmp_path) is None


def test_a_configuration_that_is_no_file_tells_nothing(tmp_path: Path) -> None:
    loop, pipe, folder = (tmp_path / name for name in ("loop", "pipe", "folder"))
    for directory in (loop, pipe, folder):
        directory.mkdir()
    (loop / "config.json").symlink_to(loop / "config.json")
    os.mkfifo(pipe / "config.json")
    (folder / "config.json").mkdir()

    assert [None] * 4 == [directory_context(path) for path in (loop, pipe, folder, tmp_path / "x")]


@pytest.mark.parametrize(
    ("windows", "expected"),
    [([], None), ([4096], 4096), ([4096, 4096], 4096), ([4096, 8192], None), ([4096, None], None)],
)
def test_directories_that_disagree_tell_nothing(
    windows: list[int | None], expected: int | None, tmp_path: Path
) -> None:
    directories = [tmp_path / str(number) for number in range(len(windows))]
    for directory, window in zip(directories, windows, strict=True):
        directory.mkdir()
        config = {"max_position_embeddings": window}
        (directory / "config.json").write_text(json.dumps(config))

    context = agreed_context(directories)

    assert expected == (context and context.size)


def test_a_gguf_file_tells_the_window_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF" + b"llama.context_length" + struct.pack("<II", 4, 2048))

    assert TrainedContext(2048, str(path)) == gguf_context(path)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"GGUF", b"zip", b"GGUFx.context_length\4\0\0\0\0\0\0\0"],
    ids=["none", "empty", "bare", "another", "zero"],
)
def test_a_gguf_file_without_a_window_tells_nothing(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    if content is not None:
        path.write_bytes(content)

    assert gguf_context(path) is None


@pytest.mark.engine
def test_the_built_in_model_tells_its_window(tmp_path: Path) -> None:
    path = locate_model("embedded", tmp_path)

    assert TrainedContext(32768, str(path)) == gguf_context(path)
