"""``MlxcelEmbeddings`` with LangChain's Qdrant: the real one, in a folder on disk."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.indexes import SQLRecordManager
from langchain_core.documents import Document
from langchain_core.indexing import index
from langchain_qdrant import QdrantVectorStore
from langchain_qdrant.qdrant import QdrantVectorStoreError
from qdrant_client import QdrantClient

from mlxcel_integrations.langchain import MlxcelEmbeddings
from tests.fakes.server import FakeServer

DOCUMENTS = [
    Document(f"Lighthouse number {number}.", metadata={"source": f"page {number}"})
    for number in range(25)
]


@contextmanager
def opened(folder: Path, url: str) -> Iterator[QdrantVectorStore]:
    """The collection in a folder, made if it is not there, and closed for others to open."""
    with MlxcelEmbeddings(base_url=url) as embeddings:
        store = QdrantVectorStore.construct_instance(
            embeddings,
            collection_name="docs",
            client_options={"path": str(folder / "qdrant")},
        )
        with closing(store.client):
            yield store


def test_what_was_written_is_found_after_a_restart(server: FakeServer, tmp_path: Path) -> None:
    with opened(tmp_path, server.url) as store:
        store.add_documents(DOCUMENTS)
    with opened(tmp_path, server.url) as store:
        (found,) = store.similarity_search("Lighthouse number 7.", k=1)

    assert ("Lighthouse number 7.", "page 7") == (found.page_content, found.metadata["source"])


async def test_async_code_writes_and_reads_as_well(server: FakeServer, tmp_path: Path) -> None:
    with opened(tmp_path, server.url) as store:
        await store.aadd_documents(DOCUMENTS)
    with opened(tmp_path, server.url) as store:
        (found,) = await store.asimilarity_search("Lighthouse number 7.", k=1)

    assert "Lighthouse number 7." == found.page_content


def test_a_collection_for_vectors_of_another_length_is_refused(
    server: FakeServer, tmp_path: Path
) -> None:
    with opened(tmp_path, server.url) as store:
        store.add_documents(DOCUMENTS[:1])

    with (
        MlxcelEmbeddings(base_url=server.url, dimensions=4) as shorter,
        closing(QdrantClient(path=str(tmp_path / "qdrant"))) as client,
        pytest.raises(QdrantVectorStoreError, match=r"with 8 dimensions.* are 4-dimensional"),
    ):
        QdrantVectorStore(client, "docs", shorter)


class Killed(SQLRecordManager):
    """Ends the process before what is in the store the second time is recorded."""

    times = 0

    def update(self, *args: Any, **options: Any) -> None:
        self.times += 1
        if self.times == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        super().update(*args, **options)


def ingest(folder: Path, url: str, records: type[SQLRecordManager]) -> dict[str, int]:
    manager = records("docs", db_url=f"sqlite:///{folder}/records.sqlite")
    manager.create_schema()
    try:
        with opened(folder, url) as store:
            result = index(
                DOCUMENTS,
                manager,
                store,
                batch_size=10,
                cleanup="incremental",
                source_id_key="source",
                key_encoder="sha1",
            )
            assert len(DOCUMENTS) == store.client.count("docs").count
            return dict(result)
    finally:
        manager.engine.dispose()


@pytest.mark.filterwarnings("ignore:Using SHA-1 for document hashing")
def test_a_killed_ingestion_is_continued_without_duplicates(
    server: FakeServer, tmp_path: Path
) -> None:
    """What is stored and not recorded is written again, to the same ids."""
    process = multiprocessing.get_context("spawn").Process(
        target=ingest, args=(tmp_path, server.url, Killed)
    )
    process.start()
    process.join()
    assert -signal.SIGKILL == process.exitcode

    continued = ingest(tmp_path, server.url, SQLRecordManager)
    again = ingest(tmp_path, server.url, SQLRecordManager)

    assert (15, 10) == (continued["num_added"], continued["num_skipped"])
    assert (0, 25) == (again["num_added"], again["num_skipped"])
