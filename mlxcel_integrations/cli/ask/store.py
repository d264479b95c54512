"""Store of vectors and of the text of documents, kept in a file from one run to the next."""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

__all__ = ["Store"]

Parameters = ParamSpec("Parameters")
T = TypeVar("T")

_TABLES = """
CREATE TABLE IF NOT EXISTS pdf (content BLOB PRIMARY KEY, pages TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vector (
    model TEXT, text BLOB, numbers BLOB, PRIMARY KEY (model, text)
) WITHOUT ROWID;
"""

_MAX_ROWS = 500
"""Rows that are looked up at once: older versions of SQLite take at most 999 values."""


def _falling_back_to_memory(
    method: Callable[Concatenate[Store, Parameters], T],
) -> Callable[Concatenate[Store, Parameters], T]:
    """Decorate a method to go on in memory if the file is full, locked or damaged."""

    @functools.wraps(method)
    def tried(self: Store, /, *args: Parameters.args, **named: Parameters.kwargs) -> T:
        try:
            return method(self, *args, **named)
        except sqlite3.Error as error:
            self.close()
            self._switch_to_memory(error)
            return method(self, *args, **named)

    return tried


class Store:
    """Vectors of texts and the text of documents, by a digest of their content, not by file name.

    Each batch is committed when it is added, and survives if the program is killed afterwards.

    Args:
        path: An SQLite file, created if missing; a damaged one is replaced.

    Attributes:
        notice: A message for the user if the file was damaged, or can no longer be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notice = ""
        try:
            self._database = self._open()
        except (sqlite3.OperationalError, OSError) as error:
            self._switch_to_memory(error)
        except sqlite3.DatabaseError:
            self.notice = f"{path} was damaged, and has been replaced"
            path.unlink()
            self._database = self._open()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @_falling_back_to_memory
    def pages(self, content: bytes) -> list[str] | None:
        """Return the pages of a document, given a digest of it; None if they are not stored."""
        query = "SELECT pages FROM pdf WHERE content = ?"
        row = self._database.execute(query, (content,)).fetchone()
        return json.loads(row[0]) if row else None

    @_falling_back_to_memory
    def keep_pages(self, content: bytes, pages: Sequence[str]) -> None:
        """Add the pages of a document."""
        with self._database:
            self._database.execute(
                "INSERT OR REPLACE INTO pdf VALUES (?, ?)", (content, json.dumps(pages))
            )

    @_falling_back_to_memory
    def vectors(self, model: str, texts: Sequence[str]) -> dict[str, bytes]:
        """Return the vectors of a model that are kept for these texts."""
        found = {}
        for first in range(0, len(texts), _MAX_ROWS):
            digests = {_digest(text): text for text in texts[first : first + _MAX_ROWS]}
            places = ", ".join("?" * len(digests))
            query = f"SELECT text, numbers FROM vector WHERE model = ? AND text IN ({places})"
            for digest, numbers in self._database.execute(query, (model, *digests)):
                found[digests[digest]] = numbers
        return found

    @_falling_back_to_memory
    def keep_vectors(self, model: str, vectors: Mapping[str, bytes]) -> None:
        """Add the vectors of a model for texts."""
        rows = [(model, _digest(text), numbers) for text, numbers in vectors.items()]
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO vector VALUES (?, ?, ?)", rows)

    @_falling_back_to_memory
    def drop_other_sizes(self, model: str, size: int) -> bool:
        """Remove the vectors of a model unless they have this size in bytes.

        Returns:
            Whether they were removed.
        """
        with self._database:
            query = "SELECT length(numbers) FROM vector WHERE model = ? LIMIT 1"
            row = self._database.execute(query, (model,)).fetchone()
            if row is None or row[0] == size:
                return False
            self._database.execute("DELETE FROM vector WHERE model = ?", (model,))
            return True

    @_falling_back_to_memory
    def drop_legacy(self) -> bool:
        """Remove vectors that the built-in chat model made before there was a built-in embedder.

        Returns:
            Whether there were any.
        """
        with self._database:
            dropped = self._database.execute("DELETE FROM vector WHERE model GLOB 'embedded *'")
            return dropped.rowcount > 0

    def _switch_to_memory(self, error: Exception) -> None:
        """Use a new store that ends with this run."""
        self.notice = f"Nothing is saved for next time: cannot use {self.path}: {error}"
        self._database = self._connect(":memory:")

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Only its owner may read it: it holds texts of the user.
        self.path.touch(0o600)
        return self._connect(str(self.path))

    def _connect(self, path: str) -> sqlite3.Connection:
        database = sqlite3.connect(path, timeout=30)
        try:
            # Waiting for the disk at each commit would take longer than all other work on most
            # documents; a store that a power failure damages is replaced.
            database.execute("PRAGMA synchronous = OFF")
            database.executescript(_TABLES)
        except sqlite3.Error:
            database.close()
            raise
        return database


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="surrogatepass")).digest()
