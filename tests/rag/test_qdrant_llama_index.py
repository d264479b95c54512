"""``MlxcelEmbedding`` with LlamaIndex's Qdrant: the real one, in a folder on disk."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import AsyncQdrantClient, QdrantClient

from mlxcel_integrations.llama_index import MlxcelEmbedding
from tests.fakes.server import FakeServer

DOCUMENTS = [
    Document(
        text=f"Lighthouse number {number}.",
        id_=f"page {number}",
        metadata={"source": f"page {number}"},
        excluded_embed_metadata_keys=["source"],
    )
    for number in range(9)
]


@contextmanager
def opened(folder: Path) -> Iterator[QdrantVectorStore]:
    """The collection in a folder, closed for others to open."""
    with closing(QdrantClient(path=str(folder / "qdrant"))) as client:
        # An index of the payload is for a server: a folder has none, and warns.
        yield QdrantVectorStore("docs", client=client, index_doc_id=False)


def test_what_was_written_is_found_after_a_restart(server: FakeServer, tmp_path: Path) -> None:
    with MlxcelEmbedding(base_url=server.url) as embed_model:
        with opened(tmp_path) as store:
            index = VectorStoreIndex.from_vector_store(store, embed_model)
            index.insert_nodes(nodes_of(DOCUMENTS))
        with opened(tmp_path) as store:
            index = VectorStoreIndex.from_vector_store(store, embed_model)
            (found,) = index.as_retriever(similarity_top_k=1).retrieve("Lighthouse number 7.")

    assert ("Lighthouse number 7.", "page 7") == (found.text, found.metadata["source"])


async def test_async_code_writes_and_reads_as_well(server: FakeServer, tmp_path: Path) -> None:
    async def opened_client() -> AsyncQdrantClient:
        return AsyncQdrantClient(path=str(tmp_path / "qdrant"))

    async with MlxcelEmbedding(base_url=server.url) as embed_model:
        client = await opened_client()
        store = QdrantVectorStore("docs", aclient=client, index_doc_id=False)
        index = VectorStoreIndex.from_vector_store(store, embed_model)
        await index.ainsert_nodes(nodes_of(DOCUMENTS))
        await client.close()

        client = await opened_client()
        store = QdrantVectorStore("docs", aclient=client, index_doc_id=False)
        index = VectorStoreIndex.from_vector_store(store, embed_model)
        (found,) = await index.as_retriever(similarity_top_k=1).aretrieve("Lighthouse number 7.")
        await client.close()

    assert "Lighthouse number 7." == found.text


def test_a_collection_for_vectors_of_another_length_is_refused(
    server: FakeServer, tmp_path: Path
) -> None:
    """By Qdrant, which names both lengths; nothing is written."""
    with opened(tmp_path) as store, MlxcelEmbedding(base_url=server.url) as embed_model:
        index = VectorStoreIndex.from_vector_store(store, embed_model)
        index.insert_nodes(nodes_of(DOCUMENTS[:1]))

    with (
        opened(tmp_path) as store,
        MlxcelEmbedding(base_url=server.url, dimensions=4) as shorter,
    ):
        index = VectorStoreIndex.from_vector_store(store, shorter)
        with pytest.raises(ValueError, match="expected dim: 8, got 4"):
            index.insert_nodes(nodes_of(DOCUMENTS[1:]))
        with pytest.raises(ValueError, match="8"):
            index.as_retriever().retrieve("Lighthouse")
        assert 1 == store.client.count("docs").count


def node_id(number: int, document: BaseNode) -> str:
    """Qdrant takes numbers and UUIDs; of an unchanged document they are the same every time."""
    return str(uuid5(NAMESPACE_URL, f"{document.node_id}#{number}#{document.hash}"))


def nodes_of(documents: list[Document]) -> list[BaseNode]:
    return SentenceSplitter(id_func=node_id).get_nodes_from_documents(documents)


def ingest(folder: Path, url: str, before_it_is_recorded: Callable[[int], None]) -> int:
    """Write what is not there yet; return how many nodes were made."""
    with MlxcelEmbedding(base_url=url) as embed_model, opened(folder) as store:
        pipeline = IngestionPipeline(
            transformations=[SentenceSplitter(id_func=node_id), embed_model],
            vector_store=store,
            docstore=SimpleDocumentStore(),
            docstore_strategy=DocstoreStrategy.UPSERTS,
            disable_cache=True,
        )
        records = folder / "records"
        if records.exists():
            pipeline.load(str(records))
        made = 0
        for number, document in enumerate(DOCUMENTS):
            made += len(pipeline.run(documents=[document]))
            before_it_is_recorded(number)
            pipeline.persist(str(records))
        assert len(DOCUMENTS) == store.client.count("docs").count
        return made


def die_at_the_fifth(number: int) -> None:
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)


def go_on(number: int) -> None:
    """Let the ingestion go on."""


def test_a_killed_ingestion_is_continued_without_duplicates(
    server: FakeServer, tmp_path: Path
) -> None:
    """What is stored and not recorded is written again, to the same ids."""
    process = multiprocessing.get_context("spawn").Process(
        target=ingest, args=(tmp_path, server.url, die_at_the_fifth)
    )
    process.start()
    process.join()
    assert -signal.SIGKILL == process.exitcode

    assert 5 == ingest(tmp_path, server.url, go_on)
    assert 0 == ingest(tmp_path, server.url, go_on)
