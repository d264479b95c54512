"""Runs ``ask`` on a scripted server that embeds, with a cache of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pytest
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from mlxcel_integrations.cli import main
from tests.fakes.server import FakeServer

MODELS = [
    {"id": "chat", "capabilities": ["completion"]},
    {"id": "embedder", "capabilities": ["embedding"]},
]
QUESTION = "How tall is the lighthouse?"
NOTES = "# Notes\n\nThe lighthouse is 32 metres tall.\n\n## Cats\n\nCats sleep a lot.\n"


def pdf(*pages: str, password: str = "") -> bytes:
    """Return a document with one line of text on each page."""
    writer = PdfWriter()
    font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
    names = DictionaryObject({NameObject(k): NameObject(v) for k, v in font.items()})
    for text in pages:
        page = writer.add_blank_page(300, 300)
        content = DecodedStreamObject()
        content.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
        fonts = DictionaryObject({NameObject("/F1"): names})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        page[NameObject("/Contents")] = writer._add_object(content)
    if password:
        writer.encrypt(password, algorithm="AES-256")
    file = BytesIO()
    writer.write(file)
    return file.getvalue()


def embedded_texts(server: FakeServer) -> list[str]:
    """Return all texts that the server was asked to embed."""
    sent = [seen.json["input"] for seen in server.requests if seen.path == "/v1/embeddings"]
    return [text for batch in sent for text in batch]


def count_vectors(store: Path) -> int:
    """Return how many vectors are kept."""
    if not store.exists():
        return 0
    with closing(sqlite3.connect(store)) as database:
        try:
            return int(database.execute("SELECT count(*) FROM vector").fetchone()[0])
        except sqlite3.OperationalError:  # its table is not made yet
            return 0


class Result(NamedTuple):
    status: int
    out: str
    err: str


Ask = Callable[..., Result]


@pytest.fixture
def store(cache: Path) -> Path:
    return cache / "ask.sqlite3"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(models=MODELS) as server:
        yield server


@pytest.fixture
def ask(server: FakeServer, store: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    def run(*arguments: str | Path, question: str | None = QUESTION) -> Result:
        asked = [] if question is None else ["--question", question]
        given = ["ask", *map(str, arguments), *asked, "--base-url", server.url]
        return Result(main(given), *capsys.readouterr())

    return run


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.md"
    path.write_text(NOTES)
    return path
