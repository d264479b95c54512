"""Cost of counting: splitting 200 kB, and a query that cuts the texts it has retrieved again.

Run as a program: ``python -m tests.llama_index.measure_counting``.
"""

from __future__ import annotations

import pydoc_data.topics
import time
from collections.abc import Callable, Sequence
from typing import Any

from llama_index.core import QueryBundle, get_response_synthesizer
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.schema import NodeWithScore, TextNode

from mlxcel_integrations.llama_index import Mlxcel, MlxcelTokenizer
from mlxcel_integrations.llama_index.tokenizer import TokenIds
from mlxcel_integrations.transport.token_cache import TokenCache

CHARACTERS = 200_000


class Timed(MlxcelTokenizer):
    """A tokenizer that knows how long it took."""

    seconds = 0.0
    calls = 0

    def __call__(self, text: str) -> TokenIds:
        begin = time.perf_counter()
        try:
            return super().__call__(text)
        finally:
            self.seconds += time.perf_counter() - begin
            self.calls += 1


class Silent(Mlxcel):
    """A model that answers by itself."""

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return ChatResponse(message=ChatMessage("Yes.", role="assistant"))


def split_words(llm: Mlxcel, tokenizer: Timed, text: str) -> None:
    TokenTextSplitter(chunk_size=1024, chunk_overlap=200, tokenizer=tokenizer).split_text(text)


def query(llm: Mlxcel, tokenizer: Timed, text: str) -> None:
    """A compact query with four chunks, which are too long together."""
    chunks = llm.sentence_splitter(chunk_size=1024).split_text(text)
    llm._connection.tokens.counts = TokenCache()
    nodes = [NodeWithScore(node=TextNode(text=chunk)) for chunk in chunks[10:14]]
    helper = llm.prompt_helper(tokenizer=tokenizer)
    synthesizer = get_response_synthesizer(llm=llm, prompt_helper=helper)
    synthesizer.synthesize(QueryBundle("What is a module?"), nodes)


def measure(work: Callable[[Mlxcel, Timed, str], None], characters: int = CHARACTERS) -> Timed:
    """Return a tokenizer that has counted for some work, on the embedded engine."""
    text = "\n\n\n".join(pydoc_data.topics.topics.values())[:characters]
    with Silent(model="embedded", ctx_size=2048, parallel=1) as llm:
        llm.start()._llm.counts_at_once()
        llm._connection.tokens.counts = TokenCache()
        tokenizer = Timed(llm)
        work(llm, tokenizer, text)
        return tokenizer


def main() -> None:
    for work in (split_words, query):
        tokenizer = measure(work)
        print(f"{work.__name__}: {tokenizer.calls} counts in {tokenizer.seconds:.2f} s")


if __name__ == "__main__":
    main()
