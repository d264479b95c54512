"""A model reads only text if nothing in its files speaks of anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations.supervisor.model_inputs import read_only_text

QWEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "intermediate_size": 4864,
    "max_window_layers": 21,
    "model_type": "qwen2",
    "quantization": {"group_size": 64, "bits": 4},
    "use_mrope": False,
    "use_sliding_window": False,
}
GEMMA = {
    "_sliding_window_pattern": 6,
    "architectures": ["Gemma3ForCausalLM"],
    "attn_logit_softcapping": None,
    "layer_types": ["sliding_attention", "full_attention"],
    "model_type": "gemma3_text",
    "query_pre_attn_scalar": 256,
    "use_bidirectional_attention": False,
}


def directory(path: Path, config: Any, *files: str) -> Path:
    path.mkdir(exist_ok=True)
    text = config if isinstance(config, str) else json.dumps(config)
    (path / "config.json").write_text(text)
    for name in files:
        (path / name).write_text("{}")
    return path


@pytest.mark.parametrize("config", [QWEN, GEMMA, {"model_type": "llama"}])
def test_a_language_model_reads_only_text(config: Any, tmp_path: Path) -> None:
    assert read_only_text([directory(tmp_path, config)])


@pytest.mark.parametrize(
    "config",
    [
        {**GEMMA, "vision_config": {}},
        {**QWEN, "model_type": "qwen2_vl"},
        {**QWEN, "architectures": ["Qwen2VLForConditionalGeneration"]},
        {**QWEN, "image_token_id": 151655},
        {**QWEN, "visual": {"width": 1664}},
        {**QWEN, "mm_hidden_size": 1152},
        {"model_type": "llava", "text_config": {}},
        {"model_type": "phi3_v", "img_processor": {}},
        {"model_type": "whisper"},
        {"model_type": "gemma3n", "audio_config": {}},
        {"model_type": "minicpmv", "slice_config": {"patch_size": 14}},
    ],
)
def test_a_model_that_may_see_or_hear_is_not_said_to_read_only_text(
    config: Any, tmp_path: Path
) -> None:
    assert not read_only_text([directory(tmp_path, config)])


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_a_processor_beside_the_model_reads_something_else(name: str, tmp_path: Path) -> None:
    assert not read_only_text([directory(tmp_path, QWEN, name)])


@pytest.mark.parametrize("config", ["", "[]", "{}", "null", '{"model_type": 1}', "[" * 100_000])
def test_a_configuration_that_says_nothing_proves_nothing(config: str, tmp_path: Path) -> None:
    assert not read_only_text([directory(tmp_path, config)])


def test_all_directories_in_which_the_model_may_be_must_agree(tmp_path: Path) -> None:
    text = directory(tmp_path / "text", QWEN)
    sees = directory(tmp_path / "sees", {**QWEN, "vision_config": {}})

    assert read_only_text([text, text])
    assert not read_only_text([text, sees])
    assert not read_only_text([text, tmp_path / "missing"])
    assert not read_only_text([])
