"""Train the adapter of the built-in model: `python -m tests.training adapter.gguf`.

It needs PyTorch and gguf (`pip install torch gguf`), 4 GB of memory, and about 25 minutes on two
cores with nothing else to do. The same seed makes the same examples, but other versions of PyTorch
and other processors round differently.
"""

from __future__ import annotations

import math
import random
import sys
import time
from pathlib import Path

import torch

from mlxcel_integrations import LLM
from mlxcel_integrations.embedded.model import locate_model
from tests.training.examples import Example, make_examples
from tests.training.network import Adapter, Network, Sequence

SEED = 1
TEXTS = 850
RATE = 1e-3
"""Step of the optimizer at its highest."""

BATCH = 2
WARMUP = 10
END_TOKEN = 1
COMMON_TOKENS = 6000
"""The first tokens of the vocabulary, which are the most frequent ones."""


def main(path: Path) -> None:
    """Write the adapter."""
    torch.manual_seed(SEED)
    examples = make_examples(SEED, TEXTS)
    model = locate_model("embedded")
    # By its path, it is served without the adapter.
    with LLM(model=model) as llm:
        examples += own_answers(llm)
        sequences = [tokenized(llm, example) for example in examples]
    used = {token for one in sequences for token in (*one.tokens, *one.answers)}
    network = Network(model, sorted(used | set(range(COMMON_TOKENS))))
    adapter = Adapter()
    train(network, adapter, sequences)
    adapter.write(path)


def own_answers(llm: LLM) -> list[Example]:
    """Return long answers of the model itself, so that it does not forget how to write them."""
    prompts = Path(__file__).with_name("open.txt").read_text(encoding="utf-8").splitlines()
    return [
        Example("Question:", [(f" {prompt}\nAnswer:", f" {llm.chat(prompt, max_tokens=48)}")])
        for prompt in prompts
    ]


def tokenized(llm: LLM, example: Example) -> Sequence:
    tokens = llm.tokenize(example.head, add_special=True)
    start = len(tokens)
    positions, parts = list(range(start)), [0] * start
    before: list[int] = []
    answers: list[int] = []
    for part, (question, answer) in enumerate(example.asked, 1):
        asked, answered = llm.tokenize(question), [*llm.tokenize(answer), END_TOKEN]
        added = [*asked, *answered[:-1]]
        before += range(len(tokens) + len(asked) - 1, len(tokens) + len(added))
        answers += answered
        tokens = tokens + added
        positions += range(start, start + len(added))
        parts += [part] * len(added)
    return Sequence(tokens, positions, parts, before, answers)


def train(network: Network, adapter: Adapter, sequences: list[Sequence]) -> None:
    """Show each example once."""
    random.Random(SEED).shuffle(sequences)
    optimizer = torch.optim.Adam(adapter.parameters(), betas=(0.9, 0.98))
    steps = len(sequences) // BATCH
    started, losses = time.monotonic(), 0.0
    for step in range(steps):
        falling = 0.03 + 0.97 * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.param_groups[0]["lr"] = RATE * min(1, (step + 1) / WARMUP) * falling
        for sequence in sequences[step * BATCH : (step + 1) * BATCH]:
            loss = network.loss(adapter, sequence) / BATCH
            loss.backward()
            losses += loss.item()
        torch.nn.utils.clip_grad_norm_(list(adapter.parameters()), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 20 == 0:
            seconds = time.monotonic() - started
            print(f"{step + 1} of {steps} steps, {seconds:.0f} s, loss {losses / 20:.3f}")
            losses = 0.0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
