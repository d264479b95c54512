"""One Qdrant collection for both frameworks.

Both make the same collections; in the payload LangChain has a text and a dictionary of metadata,
LlamaIndex a node as JSON, and the metadata beside it. LlamaIndex reads a text that is called
``text``, without a node; so LangChain is told to call it that. For the other direction the node
has its text and a dictionary in its metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_qdrant import QdrantVectorStore
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.vector_stores.qdrant import QdrantVectorStore as NodeStore
from qdrant_client import QdrantClient

from mlxcel_integrations.langchain import MlxcelEmbeddings
from mlxcel_integrations.llama_index import MlxcelEmbedding
from tests.fakes.server import FakeServer

TEXTS = {
    "boats": "The harbour has moorings for forty boats, and a crane.",
    "cats": "Cats sleep for most of the day, and hunt mice at night.",
    "bread": "Bread is made of flour, water, salt and yeast.",
}


@contextmanager
def langchain_store(folder: Path, **where: Any) -> Iterator[QdrantVectorStore]:
    with MlxcelEmbeddings(**where) as embeddings:
        store = QdrantVectorStore.construct_instance(
            embeddings,
            collection_name="docs",
            client_options={"path": str(folder)},
            content_payload_key="text",
        )
        with closing(store.client):
            yield store


@contextmanager
def llama_index_index(folder: Path, **where: Any) -> Iterator[VectorStoreIndex]:
    with (
        MlxcelEmbedding(**where) as embed_model,
        closing(QdrantClient(path=str(folder))) as client,
    ):
        store = NodeStore("docs", client=client, index_doc_id=False)
        yield VectorStoreIndex.from_vector_store(store, embed_model)


def read_by_llama_index(folder: Path, question: str, **where: Any) -> tuple[str, Any]:
    with llama_index_index(folder, **where) as index:
        (found,) = index.as_retriever(similarity_top_k=1).retrieve(question)
        return found.text, found.metadata["metadata"]


def read_by_langchain(folder: Path, question: str, **where: Any) -> tuple[str, Any]:
    with langchain_store(folder, **where) as store:
        (found,) = store.similarity_search(question, k=1)
        return found.page_content, {"topic": found.metadata["topic"]}


def write_with_langchain(folder: Path, **where: Any) -> None:
    with langchain_store(folder, **where) as store:
        store.add_documents(
            [Document(text, metadata={"topic": topic}) for topic, text in TEXTS.items()]
        )


def write_with_llama_index(folder: Path, **where: Any) -> None:
    with llama_index_index(folder, **where) as index:
        index.insert_nodes(
            [
                TextNode(
                    text=text,
                    metadata={"text": text, "metadata": {"topic": topic}},
                    excluded_embed_metadata_keys=["text", "metadata"],
                    excluded_llm_metadata_keys=["text", "metadata"],
                )
                for topic, text in TEXTS.items()
            ]
        )


@pytest.mark.parametrize("write", [write_with_langchain, write_with_llama_index])
def test_both_read_what_one_wrote(server: FakeServer, tmp_path: Path, write: Any) -> None:
    write(tmp_path, base_url=server.url)

    for topic, text in TEXTS.items():
        expected = (text, {"topic": topic})
        assert expected == read_by_langchain(tmp_path, text, base_url=server.url)
        assert expected == read_by_llama_index(tmp_path, text, base_url=server.url)


@pytest.mark.engine
def test_both_find_by_meaning_with_a_real_model(tmp_path: Path) -> None:
    with MlxcelEmbeddings(model="embedded"):
        write_with_langchain(tmp_path, model="embedded")
        for read in (read_by_langchain, read_by_llama_index):
            text, _ = read(tmp_path, "Where do ships lie at anchor?", model="embedded")
            assert TEXTS["boats"] == text
