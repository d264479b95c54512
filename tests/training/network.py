"""Gemma 3 270M in PyTorch, with an adapter of low rank (LoRA) on its upper layers.

The weights are those of the GGUF file that is served, so the adapter fits what is left of them
after they were rounded to 4 bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader, GGUFWriter
from gguf.quants import dequantize
from torch.nn import functional

__all__ = ["Adapter", "Network", "Sequence"]

Tensor = Any
"""A tensor of PyTorch, which is not installed where the types are checked."""

LAYERS, WIDTH, HEADS, HEAD_WIDTH, INNER_WIDTH = 18, 640, 4, 256, 2048
FIRST_LAYER = 6
"""The first layer with an adapter: those below it need no gradients."""

RANK = 8
_MATRICES = {
    "attn_q": (WIDTH, HEADS * HEAD_WIDTH),
    "attn_k": (WIDTH, HEAD_WIDTH),
    "attn_v": (WIDTH, HEAD_WIDTH),
    "attn_output": (HEADS * HEAD_WIDTH, WIDTH),
    "ffn_gate": (WIDTH, INNER_WIDTH),
    "ffn_up": (WIDTH, INNER_WIDTH),
    "ffn_down": (INNER_WIDTH, WIDTH),
}
"""Numbers that each matrix of a layer takes and gives."""


@dataclass(frozen=True)
class Sequence:
    """Tokens of a text and of several questions about it, which do not see each other.

    Attributes:
        tokens: The text, then each question with its answer.
        positions: Where each token stands: every question begins right after the text.
        parts: 0 for the text, and a number for each question.
        before: Index of the token before each one of the answers.
        answers: The tokens of the answers.
    """

    tokens: list[int]
    positions: list[int]
    parts: list[int]
    before: list[int]
    answers: list[int]


class Adapter:
    """The matrices that are trained."""

    def __init__(self) -> None:
        self.matrices: dict[str, tuple[Tensor, Tensor]] = {}
        for name, (taken, given) in _MATRICES.items():
            for layer in range(FIRST_LAYER, LAYERS):
                down = torch.randn(RANK, taken) / math.sqrt(taken)
                up = torch.zeros(given, RANK)
                self.matrices[f"blk.{layer}.{name}.weight"] = (
                    down.requires_grad_(),
                    up.requires_grad_(),
                )

    def parameters(self) -> Iterator[Tensor]:
        for pair in self.matrices.values():
            yield from pair

    def write(self, path: Path) -> None:
        """Write the adapter as llama.cpp reads it."""
        writer = GGUFWriter(path, "gemma3")
        writer.add_string("general.type", "adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", float(RANK))
        for name, pair in self.matrices.items():
            for end, matrix in zip(("lora_a", "lora_b"), pair, strict=True):
                writer.add_tensor(f"{name}.{end}", matrix.detach().numpy().astype(np.float16))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


class Network:
    """The model without its adapter.

    Args:
        path: The GGUF file.
        vocabulary: The tokens that occur: the loss is computed from their probabilities alone.
    """

    def __init__(self, path: Path, vocabulary: list[int]) -> None:
        self._weights: dict[str, Tensor] = {}
        for tensor in GGUFReader(path).tensors:
            numbers = torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type)))
            short = numbers.ndim == 2 and tensor.name.startswith("blk.")
            self._weights[tensor.name] = numbers.bfloat16() if short else numbers.float()
        self._embeddings = self._weights["token_embd.weight"]
        self._outputs = self._embeddings[vocabulary].bfloat16()
        self._index = {token: index for index, token in enumerate(vocabulary)}

    def loss(self, adapter: Adapter, sequence: Sequence) -> Tensor:
        """Return the mean loss of the tokens of the answers."""
        states = self._states(adapter, sequence)[sequence.before]
        states = _norm(states, self._weights["output_norm.weight"])
        logits = functional.linear(states.bfloat16(), self._outputs).float()
        wanted = torch.tensor([self._index[token] for token in sequence.answers])
        return functional.cross_entropy(logits, wanted)

    def _states(self, adapter: Adapter, sequence: Sequence) -> Tensor:
        state = self._embeddings[sequence.tokens] * math.sqrt(WIDTH)
        positions, bias = torch.tensor(sequence.positions).float(), _bias(sequence.parts)
        for layer in range(LAYERS):
            block = _Block(self._weights, adapter.matrices, f"blk.{layer}.")
            # Every sixth layer attends to the whole context, the others to its end.
            angles = _angles(positions, 1e6 if layer % 6 == 5 else 1e4)
            attended = block.attention(block.norm(state, "attn_norm"), angles, bias)
            state = state + block.norm(attended, "post_attention_norm")
            inner = block.feed_forward(block.norm(state, "ffn_norm"))
            state = state + block.norm(inner, "post_ffw_norm")
        return state


@dataclass(frozen=True)
class _Block:
    """A layer of the model."""

    weights: dict[str, Tensor]
    adapters: dict[str, tuple[Tensor, Tensor]]
    prefix: str

    def norm(self, state: Tensor, name: str) -> Tensor:
        return _norm(state, self.weights[f"{self.prefix}{name}.weight"])

    def attention(self, state: Tensor, angles: Tensor, bias: Tensor) -> Tensor:
        queries, keys, values = (
            self._linear(state, name).view(len(state), -1, HEAD_WIDTH).transpose(0, 1)
            for name in ("attn_q", "attn_k", "attn_v")
        )
        queries = _rotated(self.norm(queries, "attn_q_norm"), angles) / math.sqrt(HEAD_WIDTH)
        keys = _rotated(self.norm(keys, "attn_k_norm"), angles)
        shares = torch.softmax(queries @ keys.transpose(-1, -2) + bias, -1)
        return self._linear((shares @ values).transpose(0, 1).flatten(1), "attn_output")

    def feed_forward(self, state: Tensor) -> Tensor:
        gate = functional.gelu(self._linear(state, "ffn_gate"), approximate="tanh")
        return self._linear(gate * self._linear(state, "ffn_up"), "ffn_down")

    def _linear(self, state: Tensor, name: str) -> Tensor:
        key, short = f"{self.prefix}{name}.weight", state.bfloat16()
        result = functional.linear(short, self.weights[key]).float()
        if key not in self.adapters:
            return result
        down, up = self.adapters[key]
        added = functional.linear(functional.linear(short, down.bfloat16()), up.bfloat16())
        return result + added.float()


def _norm(state: Tensor, weight: Tensor) -> Tensor:
    return state * torch.rsqrt(state.pow(2).mean(-1, keepdim=True) + 1e-6) * weight


def _angles(positions: Tensor, base: float) -> Tensor:
    half = HEAD_WIDTH // 2
    return positions[:, None] * base ** (-torch.arange(half).float() / half)


def _rotated(heads: Tensor, angles: Tensor) -> Tensor:
    first, second = heads.chunk(2, -1)
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


def _bias(parts: list[int]) -> Tensor:
    """Return minus infinity where a token must not look: ahead, or at another question."""
    part = torch.tensor(parts)
    seen = (part[None, :] == 0) | (part[:, None] == part[None, :])
    return torch.zeros(seen.shape).masked_fill(~seen.tril(), -math.inf)
