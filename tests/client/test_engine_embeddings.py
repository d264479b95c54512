"""The built-in embedder beside the built-in model, and limits as the engine tells them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest

from mlxcel_integrations import LLM, AsyncLLM, MlxcelError
from mlxcel_integrations.embedded import BUILT_IN_EMBEDDER
from mlxcel_integrations.embedded.minilm import vocabulary
from mlxcel_integrations.embedded.model import locate_model
from mlxcel_integrations.protocol.vectors.word_pieces import normalize
from tests.client.conftest import AsyncClient, SyncClient
from tests.vectors import dot

pytestmark = pytest.mark.engine

LIMIT = 256
TEXT = "Leuchttürme am Meer, 등대, 🎉 lighthouse. " * 60


@pytest.fixture
def engine(shell: str) -> Iterator[Any]:
    """An embedder that is served as a file of the user, and a client of each kind."""
    options: dict[str, Any] = {"model": str(locate_model(BUILT_IN_EMBEDDER)), "parallel": 1}
    client = SyncClient(**options) if shell == "sync" else AsyncClient(**options)
    yield client
    client.shut_down()


def test_a_long_text_is_told_with_its_index_its_tokens_and_the_limit(engine: Any) -> None:
    tokens = len(engine.tokenize(TEXT, add_special=True))

    told = rf"^texts\[1\], 'Leuchttürme .* has {tokens} tokens, .* embeds at most {LIMIT}: split it"
    with pytest.raises(MlxcelError, match=told):
        engine.embed(["short", TEXT])


@pytest.mark.parametrize("shell", ["sync"])
def test_a_long_text_is_cut_at_the_limit(engine: Any) -> None:
    """The engine would refuse a text with one token more."""
    (cut,) = engine.embed([TEXT], truncate=True)

    # To half a word at most, whose beginning may be other pieces.
    words = TEXT.split()
    whole = next(n for n in range(len(words), 0, -1) if len(pieces(engine, words[:n])) <= LIMIT - 2)
    assert dot(cut, engine.embed([" ".join(words[:whole])])[0]) > 0.99


def pieces(engine: Any, words: list[str]) -> list[int]:
    found: list[int] = engine.tokenize(" ".join(words))
    return found


# --------------------------------------------------------------------------- the second server


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM(model="embedded", embedding_model="embedded") as llm:
        yield llm


def test_one_with_starts_chats_and_embeddings_and_stops_both() -> None:
    with LLM(model="embedded", embedding_model="embedded", share=False) as llm:
        pids = servers(llm)
        assert 2 == len(set(pids))
        assert "Paris" in llm.chat("What is the capital of France?", max_tokens=8)
        boats, ships, bread = llm.embed(["Boats in a port.", "Ships in a harbour.", "Bread."])
        assert 384 == len(boats)
        assert dot(boats, ships) > 0.5 > dot(boats, bread)

    assert [] == [pid for pid in pids if is_alive(pid)]


def test_async_code_starts_the_second_server_with_the_first_vectors() -> None:
    async def scenario() -> list[int]:
        async with AsyncLLM(model="embedded", share=False) as llm:
            assert [llm._connection.server.pid] == servers(llm)
            first, second = await asyncio.gather(llm.embed(["Boats"]), llm.embed(["Boats"]))
            assert pytest.approx(first[0], abs=1e-5) == second[0]
            return servers(llm)

    pids = asyncio.run(scenario())

    assert 2 == len(pids)
    assert [] == [pid for pid in pids if is_alive(pid)]


def servers(llm: Any) -> list[int]:
    """The processes of a client's servers that have been started."""
    connections = [llm._connection, llm._connection.embedder]
    pids = [connection.lease.server.pid for connection in connections]
    return [pid for pid in pids if pid is not None]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# --------------------------------------------------------------------------- texts

TEXTS = [
    "The harbour has forty boats.",
    "Grüße aus Málaga, naïve café!",
    "def f(x): return x**2\n\tfoo_bar",
    "안녕하세요 세계, 日本語のテキスト",
    "emoji 🎉 and \u200b“quotes”…",
    f"{'x' * 150} is long, {'y' * 100} is not",
    "ΣΑΣ İstanbul ﬁ ① ½ مرحبا สวัสดี",
    "   ",
    "[UNK] and [SEP]",
]


def test_texts_become_the_pieces_of_bert(llm: LLM) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    known = {piece: id_ for id_, piece in enumerate(vocabulary())}
    reference = tokenizers.BertWordPieceTokenizer(known)

    with connected(llm._connection.embedder) as client:
        sent = [client.tokenize(normalize(text), add_special=True) for text in TEXTS]

    assert [reference.encode(text).ids for text in TEXTS] == sent


def test_a_long_text_is_near_what_it_is_about(llm: LLM) -> None:
    boats = "The harbour has boats, and sailors mend their nets. " * 100
    stars = "The telescope shows distant galaxies and bright stars. " * 100

    about_boats, about_stars, question = llm.embed([boats, stars, "Where are the ships?"])

    assert dot(question, about_boats) > dot(question, about_stars)


def test_who_connects_to_the_second_server_embeds_and_cannot_chat(llm: LLM) -> None:
    llm.embed(["Boats"])
    with connected(llm._connection.embedder) as client:
        assert [BUILT_IN_EMBEDDER] == client.models()
        assert 384 == len(client.embed(["안녕 " * 600])[0])
        with pytest.raises(Exception, match="made for embeddings and cannot chat"):
            client.chat("Hi")


def test_who_connects_to_the_first_server_is_told_what_embeds(llm: LLM) -> None:
    told = r"Embeddings need .*embedding_model=.*\"embedded\""
    with connected(llm._connection) as client, pytest.raises(MlxcelError, match=told):
        client.embed(["Boats"])


def connected(connection: Any) -> LLM:
    return LLM(base_url=str(connection.endpoint))
