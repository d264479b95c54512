"""How much of our own time it takes to embed many texts, beside others that do the same.

Run as a program: ``python -m tests.client.measure_embeddings [COUNT]``. The server is scripted and
runs in a process of its own; what is measured is the processor time of this one. The others take
turns with us, in rounds, and the best round of each counts. Needs numpy; ``langchain-openai`` and
``llama-index-embeddings-openai`` are measured where they are installed.
"""

from __future__ import annotations

import base64
import json
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import httpx

from mlxcel_integrations import LLM
from tests.fake_api import Seen
from tests.fake_server import FakeServer, Reply

DIMENSIONS = 1024
DISTINCT = 97
BATCH = 64
SLOTS = 4
MODEL = "embedder"
ROUNDS = 5

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


def serve() -> None:
    """Serve until standard input ends."""
    with EmbeddingServer() as server:
        print(server.url, flush=True)
        sys.stdin.read()


@contextmanager
def served() -> Iterator[str]:
    """Run the server in a process of its own, and yield its address."""
    code = f"from {__name__ if __name__ != '__main__' else __spec__.name} import serve; serve()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


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


@contextmanager
def contenders(url: str, peers: bool) -> Iterator[dict[str, Embed]]:
    with httpx.Client(base_url=url, timeout=60) as client, LLM(base_url=url) as llm:
        made = {"httpx + numpy": httpx_and_numpy(client), "LLM.embed": llm.embed}
        if peers:
            made["httpx, JSON floats"] = httpx_and_numpy(client, "float")
            with suppress(ImportError):
                made["OpenAIEmbeddings"] = langchain_openai(url)
            with suppress(ImportError):
                made["OpenAIEmbedding"] = llama_index_openai(url)
        yield made


def measure(count: int, *, peers: bool = True) -> dict[str, tuple[float, float]]:
    """Return the processor time and the elapsed time of each, in seconds.

    Args:
        count: How many texts there are.
        peers: Whether others take part than we and what a user would write.
    """
    many = texts(count)
    best: dict[str, tuple[float, float]] = {}
    with served() as url, contenders(url, peers) as everyone:
        expected = everyone["httpx + numpy"](many)
        for embed in everyone.values():
            assert expected == embed(many)
        for _ in range(ROUNDS):
            for name, embed in everyone.items():
                begin, used = time.perf_counter(), time.process_time()
                embed(many)
                now = time.process_time() - used, time.perf_counter() - begin
                before = best.get(name, now)
                best[name] = min(now[0], before[0]), min(now[1], before[1])
    return best


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    best = measure(count)
    base = best["httpx + numpy"]
    print(f"{count} texts of 200 characters, vectors of {DIMENSIONS} numbers")
    for name, (used, elapsed) in best.items():
        print(
            f"{name:20} processor {used:6.2f} s ({used / base[0]:5.2f} x)"
            f"   elapsed {elapsed:6.2f} s ({elapsed / base[1]:5.2f} x)"
        )


if __name__ == "__main__":
    main()
