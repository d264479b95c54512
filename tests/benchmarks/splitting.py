"""How long it takes to split a long text by its tokens, which the embedded engine counts."""

from __future__ import annotations

import pydoc_data.topics
import time
from collections.abc import Callable

from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.utils import get_tokenizer

from mlxcel_integrations.llama_index import Mlxcel
from mlxcel_integrations.transport.token_cache import TokenCache
from tests.benchmarks.part import Part
from tests.benchmarks.rounds import medians

__all__ = ["PARTS"]

CHARACTERS = 200_000
TIKTOKEN = "tiktoken, with the tokens of another model"
TOKENIZER = "`Mlxcel.tokenizer`"


def splitting(rounds: int, peers: bool) -> dict[str, float]:
    """Return the seconds for splitting a text, with tokens of the model and of another one."""
    text = "\n\n\n".join(pydoc_data.topics.topics.values())[:CHARACTERS]

    def split(tokenizer: Callable[[str], object]) -> None:
        TokenTextSplitter(chunk_size=1024, chunk_overlap=200, tokenizer=tokenizer).split_text(text)

    with Mlxcel(model="embedded", parallel=1) as llm:

        def split_anew() -> None:
            llm._connection.tokens.counts = TokenCache()
            split(llm.tokenizer)

        ways = {TIKTOKEN: lambda: split(get_tokenizer()), TOKENIZER: split_anew}
        return medians(ways, rounds, clock=time.perf_counter)


PARTS = (Part("splitting", "ms", 1e3, splitting, {TOKENIZER: (TIKTOKEN,)}),)
