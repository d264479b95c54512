"""Ingestion in several processes: the model and its tokenizer travel with the transformations."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_index.core import Document
from llama_index.core.extractors import KeywordExtractor
from llama_index.core.ingestion import IngestionPipeline

from mlxcel_integrations.llama_index import Mlxcel
from tests.fakes.server import FakeServer

TEXT = "The lighthouse stands by the sea. " * 40


@pytest.fixture
def server() -> Iterator[FakeServer]:
    folder = Path(tempfile.mkdtemp(prefix="mlxcel-", dir="/tmp"))
    with FakeServer(socket=folder / "x.sock") as running:
        yield running
    shutil.rmtree(folder)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # core's: event loops that it leaves open
def test_workers_ask_the_same_server_by_its_socket(server: FakeServer) -> None:
    with Mlxcel(base_url=server.url) as llm:
        splitter = llm.sentence_splitter(chunk_size=64, chunk_overlap=0)
        pipeline = IngestionPipeline(
            transformations=[splitter, KeywordExtractor(llm=llm, keywords=2)]
        )
        expected = [node.text for node in splitter.get_nodes_from_documents([Document(text=TEXT)])]
        nodes = pipeline.run(
            documents=[Document(text=TEXT), Document(text=TEXT)], num_workers=2, show_progress=False
        )

    assert expected * 2 == [node.get_content() for node in nodes]
    assert all(node.metadata["excerpt_keywords"].startswith("echo: ") for node in nodes)
    assert len(nodes) == len(server.posts) > 4
