"""Check that queries fit into a small context, however long the retrieved texts are.

Random queries over English, Korean and code go through query engines whose chunks are as long as
the context allows. Each prompt is counted by the embedded engine as it would be sent; some are
sent, to compare the count with the usage that comes back.

Run as a program: ``python -m tests.llama_index.measure_queries [QUERIES] [SENT]``.
"""

from __future__ import annotations

import argparse
import inspect
import pydoc_data.topics
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llama_index.core import QueryBundle, get_response_synthesizer
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import BaseNode, Document, NodeWithScore
from pydantic import PrivateAttr

from mlxcel_integrations.llama_index import Mlxcel

WINDOW = 2048
MODES = ("compact", "compact", "refine", "tree_summarize", "accumulate")
CHUNKS = (200, 512, 1024, 1500)
SYLLABLES = "가나다라마바사아자차카타파하고노도로모보소오조호기니디리미비시이지한국말글책집물불산강"


@dataclass
class Prompts:
    """What was seen of the prompts of all queries."""

    send_every: int = 0
    counts: list[int] = field(default_factory=list)
    sent: int = 0
    overflows: list[int] = field(default_factory=list)
    wrong: list[tuple[int, int]] = field(default_factory=list)


class Watched(Mlxcel):
    """A model that counts what it is asked, and answers most of it by itself."""

    _prompts: Prompts = PrivateAttr()
    _numbers: random.Random = PrivateAttr()

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        prompts, metadata = self._prompts, self.metadata
        tokens = self.count_message_tokens(messages, **kwargs)
        prompts.counts.append(tokens)
        if tokens + metadata.num_output > metadata.context_window:
            prompts.overflows.append(tokens)
        if prompts.send_every and len(prompts.counts) % prompts.send_every == 0:
            usage = super().chat(messages, **{**kwargs, "max_tokens": 1}).raw["usage"]
            prompts.sent += 1
            if usage["prompt_tokens"] != tokens:
                prompts.wrong.append((tokens, usage["prompt_tokens"]))
        answer = sentence(self._numbers, metadata.num_output // 2)
        return ChatResponse(message=ChatMessage(answer, role="assistant"))


class RandomNodes(BaseRetriever):
    """Retrieves some nodes, whatever is asked."""

    def __init__(self, nodes: Sequence[BaseNode], numbers: random.Random) -> None:
        super().__init__()
        self._nodes = nodes
        self._numbers = numbers

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        count = self._numbers.randint(1, 6)
        return [NodeWithScore(node=node) for node in self._numbers.sample(self._nodes, count)]


def sentence(numbers: random.Random, words: int) -> str:
    """Korean, with what else occurs in texts."""
    korean = ["".join(numbers.choices(SYLLABLES, k=numbers.randint(1, 4))) for _ in range(words)]
    others = ["word", "end.", "<eos>", "x[1]", "🎉", "\n"]
    return " ".join(numbers.choice([word, word, *others]) for word in korean)


def documents(characters: int) -> list[Document]:
    """English, Korean and code, each of so many characters."""
    code = "".join(Path(inspect.getfile(module)).read_text() for module in (argparse, inspect))
    texts = {
        "english": "\n\n\n".join(pydoc_data.topics.topics.values()),
        "korean": sentence(random.Random(1), characters // 3),
        "code": code,
    }
    return [
        Document(text=text[:characters], metadata={"file": f"{name}.txt"})
        for name, text in texts.items()
    ]


def measure(queries: int, sent: int, characters: int = 100_000) -> Prompts:
    """Run random queries; about so many of their prompts are answered by the engine."""
    numbers = random.Random(queries)
    with Watched(model="embedded", ctx_size=WINDOW, parallel=1, max_tokens=1) as llm:
        llm._prompts = Prompts(send_every=max(1, 2 * queries // sent) if sent else 0)
        llm._numbers = numbers
        helper = llm.prompt_helper()
        nodes = [
            llm.sentence_splitter(chunk_size=size, chunk_overlap=20)(documents(characters))
            for size in CHUNKS
        ]
        for _ in range(queries):
            # What is left for the answer is left out of the prompt.
            helper.num_output = llm.max_tokens = numbers.choice([1, 100, 500])
            RetrieverQueryEngine(
                RandomNodes(numbers.choice(nodes), numbers),
                get_response_synthesizer(
                    llm=llm, prompt_helper=helper, response_mode=numbers.choice(MODES)
                ),
            ).query(sentence(numbers, numbers.randint(1, 100)))
        return llm._prompts


def main() -> None:
    queries = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    sent = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    begin = time.perf_counter()
    prompts = measure(queries, sent)
    print(
        f"{queries} queries, {len(prompts.counts)} prompts, the longest {max(prompts.counts)} of "
        f"{WINDOW} tokens, in {time.perf_counter() - begin:.0f} s"
    )
    print(f"longer than there is room for: {prompts.overflows}")
    print(f"sent: {prompts.sent}, of which counted otherwise: {prompts.wrong}")


if __name__ == "__main__":
    main()
