"""Names that models' names resemble, and the sentence that suggests them."""

from __future__ import annotations

import pytest

from mlxcel_integrations import MlxcelServerError
from mlxcel_integrations.supervisor.binary import find_executable
from mlxcel_integrations.supervisor.model_names import similar_names, suggestion

QWEN, GEMMA = "mlx-community/Qwen3-4B-4bit", "mlx-community/gemma-3-1b-it-4bit"
OLLAMA = (
    "'{name}' is the name of an Ollama model: use a repository id, such as "
    "'mlx-community/Qwen3-4B-4bit', or the path of a .gguf file."
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mlx-comunity/Qwen3-4B-4bit", [QWEN]),
        ("mlx-community/Qwen3-4b-4bit", [QWEN]),
        ("mlx-community/Qwen3-4B-4-bit", [QWEN]),
        ("Qwen3-4B-4bit", [QWEN]),
        ("qwen3-4B-4bits", [QWEN]),
        ("gemma3-1b-it-4bit", [GEMMA]),
        (QWEN, []),
        ("mlx-community/Llama-3.2-3B", []),
        ("", []),
        ("/models/nope", []),
    ],
)
def test_a_name_resembles_those_that_it_may_stand_for(name: str, expected: list[str]) -> None:
    assert expected == similar_names(name, [QWEN, GEMMA])


def test_the_most_similar_name_is_the_first() -> None:
    names = ["a/model-8bit", "a/model-6bit", "a/model-4bit"]

    assert "a/model-6bit" == similar_names("a/model-6bits", names)[0]
    assert 3 == len(similar_names("a/model-6bits", names))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "mlx-comunity/Qwen3-4B-4bit",
            f"Did you mean {QWEN!r}, which mlxcel has on this machine?",
        ),
        ("mlx-comunity/Phi-4", "Did you mean 'mlx-community/Phi-4'?"),
        ("mlx_community/Phi-4", "Did you mean 'mlx-community/Phi-4'?"),
        ("MLX-Community/Phi-4", "Did you mean 'mlx-community/Phi-4'?"),
        ("mlx-community/Phi-4", ""),
        ("someone/Phi-4", ""),
        ("mlx-comunity/a/b", ""),
        ("nonsense", ""),
        ("embeded", "Did you mean 'embedded', the small built-in model?"),
        ("Embedded", "Did you mean 'embedded', the small built-in model?"),
        ("qwen3:4b", OLLAMA.format(name="qwen3:4b")),
        ("someone/qwen3:4b-q4_K_M", OLLAMA.format(name="someone/qwen3:4b-q4_K_M")),
        ("hf.co/someone/qwen:Q4", OLLAMA.format(name="hf.co/someone/qwen:Q4")),
        ("localhost:8080", ""),
        ("C:\\models\\qwen", ""),
    ],
)
def test_a_suggestion_names_what_may_be_meant(name: str, sentence: str) -> None:
    assert sentence == suggestion(name, [QWEN])


@pytest.mark.parametrize("name", ["embeded", "qwen3:4b", "mlx-comunity/Phi-4"])
def test_a_machine_without_mlxcel_suggests_names_too(name: str) -> None:
    with pytest.raises(MlxcelServerError) as caught:
        find_executable(name, None, {})

    assert f"not on PATH. {suggestion(name)} Install mlxcel" in str(caught.value)
