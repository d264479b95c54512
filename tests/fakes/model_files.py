"""The files of models as mlxcel 0.4.2 looks at them: what is downloaded, and what ends a start."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from tests.fakes.answers import Json

MISSING = "\n\nCaused by:\n    No such file or directory (os error 2)"
TOKENIZERS = "tried tokenizer.json, tokenizer.model, *.tiktoken, and tokenizer.jsonl"
UNKNOWN_TYPE = "nosuch"


def store() -> Path:
    """Where downloaded models are kept."""
    if models := os.environ.get("MLXCEL_MODELS_DIR"):
        return Path(models)
    return Path(os.environ.get("MLXCEL_CACHE_DIR") or Path.home() / ".cache/mlxcel", "models")


def downloaded(root: Path) -> list[Json]:
    """What `mlxcel list --json` shows: each directory `name` or `owner/name` with a config."""
    found = [path.parent for path in (*root.glob("*/config.json"), *root.glob("*/*/config.json"))]
    return [
        {
            "repo_id": str(path.relative_to(root)),
            "size_bytes": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
            "path": str(path),
            "modified": int(path.stat().st_mtime),
        }
        for path in sorted(found)
    ]


def start_error(model: str) -> str | None:
    """Why a start with this model ends; None if it goes on."""
    path = Path(model)
    if not path.exists():
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
            return None  # downloaded
        expected = "(expected `owner/name`, e.g. `mlx-community/Qwen3-4B-4bit`)"
        advice = "Pass a local model directory or a repo-id to auto-download."
        kind = f"neither an existing path nor a valid HuggingFace repo-id {expected}"
        return f"model '{model}' is {kind}. {advice}"
    if path.is_file():
        return None
    if not (path / "config.json").exists():
        return f"failed to read {model}/config.json{MISSING}"
    if config(path).get("model_type") == UNKNOWN_TYPE:
        return f"Unsupported model type: {UNKNOWN_TYPE}"
    return None


def tokenizer_error(model: str) -> str | None:
    """Why a start ends a little later; None if it goes on."""
    path = Path(model)
    if not path.exists():
        return None
    if not (path / "tokenizer.json").exists():
        return f'No tokenizer found in "{model}" ({TOKENIZERS})'
    try:
        json.loads((path / "tokenizer.json").read_bytes())
    except ValueError:
        return "EOF while parsing an object at line 1 column 1"
    return None


def config(path: Path) -> Json:
    try:
        return dict(json.loads((path / "config.json").read_bytes()))
    except ValueError:
        return {}


def load_error(model: str) -> str | None:
    """Why the weights of a model cannot be loaded; None if they can."""
    path = Path(model)
    if not path.is_dir():
        return None
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        return f"No safetensors files found in directory: {model}"
    data = weights[0].read_bytes()
    size = int.from_bytes(data[:8], "little")
    try:
        tensors = json.loads(data[8 : 8 + size]) if size < len(data) else None
        assert isinstance(tensors, dict)
    except (ValueError, AssertionError):
        reason = f"Invalid json header length file {weights[0]}"
        return f"Failed to load {weights[0]}: [load_safetensors] {reason}"
    for name, tensor in tensors.items():
        begin, end = tensor.get("data_offsets", (0, 0))
        if 8 + size + end > len(data):
            offsets = f"Tensor '{name}' invalid data offsets ({begin}, {end})"
            reason = f"{offsets} exceeding the size of the file. Perhaps an incomplete download"
            return f"Failed to load {weights[0]}: [load_safetensors] {reason} or corrupt file?"
    return None
