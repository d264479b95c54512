"""The servers that are held to the contract, and how their answers are looked at."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from mlxcel_integrations import ManagedServer
from tests.fakes.server import FakeServer

Json = dict[str, Any]
Dialect = Literal["v0.4.2", "newest", "llama.cpp"]

KEY = "contract-key"
N_PREDICT = 12
"""Tokens of an answer to a request that sets no limit."""

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
RERANK = "/v1/rerank"

# None of the servers speaks TLS, and reading the system's certificates takes longer than a test.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True)
class Server:
    """A server that runs, and which of the three ways of answering it has.

    Attributes:
        dialect: What it speaks.
        http: Asks it over plain HTTP, with its key.
        url: Its address.
        fake: The scripted server, None if there is a real one.
    """

    dialect: Dialect
    http: httpx.Client
    url: str
    fake: FakeServer | None = None

    def choose(self, *, old: Any, newest: Any, llama_cpp: Any = None) -> Any:
        """Return what is expected of this server."""
        return {"v0.4.2": old, "newest": newest, "llama.cpp": llama_cpp}[self.dialect]

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.http.get(path, headers=headers)

    def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        return self.http.post(path, json=body, headers=headers)

    def ok(self, path: str, body: object) -> Any:
        """Send a request that must be answered."""
        response = self.post(path, body)
        assert 200 == response.status_code, response.text
        return response.json()

    def chat(self, text: str = "Hi", **fields: Any) -> Json:
        """The one choice of a whole chat answer."""
        (choice,) = self.ok(CHAT, ask(text, **fields))["choices"]
        return dict(choice)

    def text(self, text: str = "Hi", **fields: Any) -> str:
        """The text of an answer without thinking."""
        quiet = {"chat_template_kwargs": {"enable_thinking": False}, "temperature": 0}
        return str(self.chat(text, **quiet, **fields)["message"]["content"])

    def events(self, path: str, body: Json) -> list[Json]:
        """The JSON events of a stream that ends as streams do."""
        response = self.post(path, {**body, "stream": True})
        assert 200 == response.status_code, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        *events, done = data_lines(response.text)
        assert "[DONE]" == done
        return [json.loads(event) for event in events]


def ask(text: str = "Hi", **fields: Any) -> Json:
    """A chat request of few tokens."""
    messages = [{"role": "user", "content": text}]
    return {"model": "any", "messages": messages, "max_tokens": 4, **fields}


def data_lines(stream: str) -> list[str]:
    """The data of each event; a stream has nothing else but comments."""
    lines = [line for line in stream.split("\n") if line and not line.startswith(":")]
    assert all(line.startswith("data: ") for line in lines)
    return [line.removeprefix("data: ") for line in lines]


def error(response: httpx.Response) -> Json:
    """The error of an answer that has one."""
    return dict(response.json()["error"])


def is_text(response: httpx.Response) -> bool:
    """Whether an error is told in plain text, as the web framework of mlxcel does."""
    return response.headers["content-type"].startswith("text/plain")


def deltas(events: Sequence[Json]) -> list[Json]:
    return [event["choices"][0]["delta"] for event in events if event["choices"]]


def client(url: str, key: str | None = KEY) -> httpx.Client:
    """A client that keeps no connection: llama.cpp closes each after its hundredth request."""
    address, path = (url, None) if url.startswith("http") else ("http://server", url[7:])
    none_kept = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(
        transport=httpx.HTTPTransport(uds=path, verify=_NO_TLS, limits=none_kept),
        base_url=address,
        headers={} if key is None else {"Authorization": f"Bearer {key}"},
        timeout=60,
    )


@contextmanager
def scripted(dialect: Literal["v0.4.2", "newest"], **options: Any) -> Iterator[Server]:
    with FakeServer(dialect, api_key=KEY, **options) as fake, client(fake.url) as http:
        fake.n_predict = N_PREDICT
        fake.props = True
        yield Server(dialect, http, fake.url, fake)


@contextmanager
def embedded(model: str = "embedded", **options: Any) -> Iterator[Server]:
    with managed(model, **options) as url, client(url) as http:
        yield Server("llama.cpp", http, url)


@contextmanager
def real() -> Iterator[Server]:
    """The mlxcel that ``MLXCEL_BIN`` names, with the model of ``MLXCEL_MODEL``."""
    with managed(os.environ["MLXCEL_MODEL"], extra_args=("--props",)) as url, client(url) as http:
        health = http.get("/health").json()
        yield Server("v0.4.2" if "context_size" in health else "newest", http, url)


@contextmanager
def managed(model: str, **options: Any) -> Iterator[str]:
    with ManagedServer(
        model, api_key=KEY, n_predict=N_PREDICT, parallel=2, share=False, **options
    ) as server:
        yield server.base_url
