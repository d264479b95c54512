"""What a client does to embed many texts, whose vectors a scripted server has ready."""

from __future__ import annotations

import base64
import json
import random
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import httpx

from mlxcel_integrations import LLM
from tests.benchmarks.part import Part
from tests.benchmarks.rounds import Work, medians
from tests.benchmarks.serving import served
from tests.fakes.api import Seen
from tests.fakes.server import FakeServer, Reply

__all__ = ["FLOOR", "OURS", "PARTS", "embeddings"]

COUNT = 10_000
DIMENSIONS = 1024
DISTINCT = 97
BATCH = 64
SLOTS = 4
MODEL = "embedder"

FLOOR = "httpx and numpy"
OURS = "`LLM.embed`"
AS_JSON = "httpx, vectors as JSON numbers"

Vectors = list[list[float]]
Embed = Callable[[list[str]], Vectors]


def texts(count: int) -> list[str]:
    """Texts of 200 characters, each with its number in front."""
    return [f"{number} {'word ' * 40}"[:200] for number in range(count)]


class EmbeddingServer(FakeServer):
    """Answers at once: the vectors are made before, and chosen by the number of the text."""

    def __init__(self) -> None:
        numbers = random.Random(0)
        rows = [[numbers.uniform(-1, 1) for _ in range(DIMENSIONS)] for _ in range(DISTINCT)]
        packed = [struct.pack(f"<{DIMENSIONS}f", *row) for row in rows]
        self._rows = {
            "base64": [json.dumps(base64.b64encode(row).decode()) for row in packed],
            "float": [json.dumps(struct.unpack(f"<{DIMENSIONS}f", row)) for row in packed],
        }
        models = [{"id": MODEL, "capabilities": ["embedding"]}]
        super().__init__(models=models, slots=SLOTS)

    def _embeddings(self, seen: Seen) -> Reply:
        body = seen.json
        rows = self._rows[body.get("encoding_format") or "float"]
        entries = ", ".join(
            f'{{"object": "embedding", "index": {index}, '
            f'"embedding": {rows[int(text.split()[0]) % DISTINCT]}}}'
            for index, text in enumerate(body["input"])
        )
        usage = '{"prompt_tokens": 1, "total_tokens": 1}'
        answer = f'{{"object": "list", "data": [{entries}], "model": "m", "usage": {usage}}}'
        self.requests.clear()
        return Reply.plain(200, answer, "application/json")


def httpx_and_numpy(client: httpx.Client, form: str = "base64") -> Embed:
    """What a user would write: as many requests at once, the same batches."""
    import numpy as np

    def embed_batch(batch: list[str]) -> Vectors:
        body = {"model": MODEL, "input": batch, "encoding_format": form}
        response = client.post("/v1/embeddings", json=body)
        response.raise_for_status()
        entries = sorted(response.json()["data"], key=lambda entry: entry["index"])
        if form == "float":
            return [entry["embedding"] for entry in entries]
        return [
            np.frombuffer(base64.b64decode(entry["embedding"]), dtype="<f4").tolist()
            for entry in entries
        ]

    def embed(texts: list[str]) -> Vectors:
        batches = [texts[first : first + BATCH] for first in range(0, len(texts), BATCH)]
        with ThreadPoolExecutor(SLOTS) as pool:
            return [vector for part in pool.map(embed_batch, batches) for vector in part]

    return embed


def langchain_openai(url: str) -> Embed:
    from langchain_openai import OpenAIEmbeddings

    # Else it sends the token ids of another model.
    options: Any = {"check_embedding_ctx_length": False, "api_key": "none"}
    return OpenAIEmbeddings(model=MODEL, base_url=f"{url}/v1", **options).embed_documents


def llama_index_openai(url: str) -> Embed:
    from llama_index.embeddings.openai import OpenAIEmbedding

    model = OpenAIEmbedding(
        model_name=MODEL, api_base=f"{url}/v1", api_key="none", embed_batch_size=BATCH
    )
    return model.get_text_embedding_batch


def langchain_mlxcel(url: str) -> Embed:
    from mlxcel_integrations.langchain import MlxcelEmbeddings

    return MlxcelEmbeddings(base_url=url).embed_documents


def llama_index_mlxcel(url: str) -> Embed:
    from mlxcel_integrations.llama_index import MlxcelEmbedding

    return MlxcelEmbedding(base_url=url).get_text_embedding_batch


FRAMEWORKS: dict[str, Callable[[str], Embed]] = {
    "`MlxcelEmbeddings`": langchain_mlxcel,
    "`OpenAIEmbeddings`": langchain_openai,
    "`MlxcelEmbedding`": llama_index_mlxcel,
    "`OpenAIEmbedding`": llama_index_openai,
}


@contextmanager
def clients(url: str, *, peers: bool) -> Iterator[dict[str, Embed]]:
    with httpx.Client(base_url=url, timeout=60) as client, LLM(base_url=url) as llm:
        made: dict[str, Embed] = {FLOOR: httpx_and_numpy(client), OURS: llm.embed}
        if peers:
            made[AS_JSON] = httpx_and_numpy(client, "float")
            for name, make in FRAMEWORKS.items():
                with suppress(ImportError):
                    made[name] = make(url)
        yield made


def embeddings(rounds: int, peers: bool = False, count: int = COUNT) -> dict[str, float]:
    """Return the seconds that each client takes for a text.

    Args:
        rounds: How often each has its turn.
        peers: Whether others take part than we and what a user would write.
        count: How many texts there are.
    """
    many = texts(count)

    def work(embed: Embed) -> Work:
        return lambda: embed(many)

    with served(EmbeddingServer) as url, clients(url, peers=peers) as everyone:
        expected = everyone[FLOOR](many[:BATCH])
        for name, embed in everyone.items():
            if expected != embed(many[:BATCH]):
                raise ValueError(f"The vectors of {name} are different.")
        times = medians({name: work(embed) for name, embed in everyone.items()}, rounds)
    return {name: seconds / count for name, seconds in times.items()}


FLOORS = dict.fromkeys((OURS, AS_JSON, *FRAMEWORKS), (FLOOR,))
PARTS = (Part("embeddings", "µs a text", 1e6, embeddings, FLOORS, {OURS: 1.3}),)
