"""What was read and embedded before: kept in the user's cache, so that it is done once."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from ...errors import MlxcelError

__all__ = ["Store"]

_TABLES = """
CREATE TABLE IF NOT EXISTS pdf (content BLOB PRIMARY KEY, pages TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vector (
    model TEXT, text BLOB, numbers BLOB, PRIMARY KEY (model, text)
) WITHOUT ROWID;
"""


class Store:
    """Vectors of texts and the texts of PDFs, by what is in them, whatever their file is called.

    Each batch that is added stays, even if the program is killed thereafter; what is in it once
    is never in it twice.

    Args:
        path: An SQLite file; made if need be. What is no such file is replaced.

    Attributes:
        news: What the user should know about how it was opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.news = ""
        try:
            self._database = self._open()
        except (sqlite3.OperationalError, OSError) as error:
            self.news = f"Nothing is kept for the next time: {path}: {error}"
            self._database = self._connect(":memory:")
        except sqlite3.DatabaseError:
            self.news = f"{path} was damaged and is made anew"
            path.unlink()
            self._database = self._open()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def pages(self, content: bytes) -> list[str] | None:
        """Return the pages of a PDF, given the digest of its content; None if it is new."""
        with self._told():
            query = "SELECT pages FROM pdf WHERE content = ?"
            row = self._database.execute(query, (content,)).fetchone()
        return json.loads(row[0]) if row else None

    def keep_pages(self, content: bytes, pages: Sequence[str]) -> None:
        """Add the pages of a PDF."""
        with self._told(), self._database:
            self._database.execute(
                "INSERT OR REPLACE INTO pdf VALUES (?, ?)", (content, json.dumps(pages))
            )

    def vectors(self, model: str, texts: Sequence[str]) -> dict[str, bytes]:
        """Return the vectors that a model has made of some of these texts."""
        query = "SELECT numbers FROM vector WHERE model = ? AND text = ?"
        found = {}
        with self._told():
            for text in texts:
                row = self._database.execute(query, (model, _digest(text))).fetchone()
                if row:
                    found[text] = row[0]
        return found

    def keep_vectors(self, model: str, vectors: Mapping[str, bytes]) -> None:
        """Add what a model has made of texts."""
        rows = [(model, _digest(text), numbers) for text, numbers in vectors.items()]
        with self._told(), self._database:
            self._database.executemany("INSERT OR REPLACE INTO vector VALUES (?, ?, ?)", rows)

    def drop_others(self, model: str, size: int) -> bool:
        """Remove the vectors of a model if they do not have this size in bytes; tell whether."""
        with self._told(), self._database:
            query = "SELECT length(numbers) FROM vector WHERE model = ? LIMIT 1"
            row = self._database.execute(query, (model,)).fetchone()
            if row is None or row[0] == size:
                return False
            self._database.execute("DELETE FROM vector WHERE model = ?", (model,))
            return True

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Texts of the user are in it.
        self.path.touch(0o600)
        return self._connect(str(self.path))

    def _connect(self, path: str) -> sqlite3.Connection:
        database = sqlite3.connect(path, timeout=30)
        try:
            database.executescript(_TABLES)
        except sqlite3.Error:
            database.close()
            raise
        return database

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise MlxcelError(
                f"Cannot use {self.path}: {error}. Make room there, or delete the file, or name "
                "another place with XDG_CACHE_HOME."
            ) from None


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="surrogatepass")).digest()
