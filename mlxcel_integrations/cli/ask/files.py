"""The files that are asked: found in folders, read as text, Markdown or PDF."""

from __future__ import annotations

import codecs
import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from ...errors import MlxcelError
from .passages import Passage, cut_markdown, cut_pages, cut_text
from .store import Store

__all__ = ["LeftOut", "Reading"]

_MARKDOWN = {".md", ".markdown"}
_IN_FOLDERS = _MARKDOWN | {".txt", ".text", ".rst", ".pdf"}
"""What is taken from a folder; a file that is named itself may end as it likes."""

_LARGEST = 100_000_000
"""Bytes of a file: more is a mistake, and would take the memory of the machine."""

# What no text has: a byte of zero is in nearly every other file.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_BYTE_ORDER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Unreadable(Exception):
    """A file has no text for us; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that could not be read.

    Attributes:
        file: Which.
        reason: Why, and what to do.
    """

    file: str
    reason: str


class Reading:
    """What was found in files.

    Attributes:
        files: How many files were read.
        passages: What stands in them.
        left_out: The files that could not be read.
    """

    def __init__(self) -> None:
        self.files = 0
        self.passages: list[Passage] = []
        self.left_out: list[LeftOut] = []

    def read(self, names: Sequence[str], store: Store) -> None:
        """Read files, and those in folders whose names end as those of text and PDF do.

        Args:
            names: Files and folders; what is hidden in a folder is passed over.
            store: Where the text of PDFs is kept.

        Raises:
            MlxcelError: There is nothing to read in all of them.
        """
        found = [path for name in names for path in self._find(name)]
        for path in dict.fromkeys(found):
            try:
                self.passages += _read(path, store)
                self.files += 1
            except OSError as error:
                self._leave_out(path, f"{error.strerror}. Check the name and the rights")
            except Unreadable as error:
                self._leave_out(path, str(error))
        if not self.passages:
            raise MlxcelError(self._nothing(names))

    def _find(self, name: str) -> Iterator[Path]:
        path = Path(name).expanduser()
        # No name at all would be the current folder.
        if not name or not path.is_dir():
            yield path
            return
        for folder, folders, files in os.walk(path, onerror=self._leave_out_folder):
            folders[:] = sorted(child for child in folders if not child.startswith("."))
            for file in sorted(files):
                if not file.startswith(".") and Path(file).suffix.lower() in _IN_FOLDERS:
                    yield Path(folder) / file

    def _leave_out_folder(self, error: OSError) -> None:
        self._leave_out(error.filename, f"{error.strerror}. Check the rights")

    def _leave_out(self, path: str | Path, reason: str) -> None:
        self.left_out.append(LeftOut(str(path), reason))

    def _nothing(self, names: Sequence[str]) -> str:
        if not self.left_out:
            return (
                f"There is nothing to read in {', '.join(names)}: in folders, files count that "
                f"end in {', '.join(sorted(_IN_FOLDERS))}. Name others one by one."
            )
        first, *others = self.left_out
        more = f" So it is with {len(others)} more." if others else ""
        return f"Cannot read {first.file}: {first.reason}.{more}"


def _read(path: Path, store: Store) -> list[Passage]:
    if path.exists() and not path.is_file():
        raise Unreadable("it is no file. Name a file or a folder")
    if path.stat().st_size > _LARGEST:
        raise Unreadable(f"it has more than {_LARGEST // 1_000_000} MB. Split it")
    content = path.read_bytes()
    if not content.strip():
        raise Unreadable("it is empty. Leave it out")
    suffix = path.suffix.lower()
    if suffix == ".pdf" or content.startswith(b"%PDF-"):
        return cut_pages(str(path), _pages(content, store))
    text = _text(content)
    return (cut_markdown if suffix in _MARKDOWN else cut_text)(str(path), text)


def _text(content: bytes) -> str:
    """Decode UTF-8, else UTF-16 with a mark, else the old encoding of western languages."""
    encoding = "utf-16" if content.startswith(_BYTE_ORDER_MARKS) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
    if _CONTROL.search(text):
        raise Unreadable("it is neither text nor PDF. Save it as one of these first")
    return text


def _pages(content: bytes, store: Store) -> list[str]:
    """Return the text of the pages of a PDF; reading takes long, and is done once."""
    key = hashlib.sha256(content).digest()
    pages = store.pages(key)
    if pages is None:
        pages = _extract(content)
        store.keep_pages(key, pages)
    return pages


def _extract(content: bytes) -> list[str]:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError

    # It tells of each flaw of a file that it can read all the same.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        pages = [page.extract_text() for page in PdfReader(BytesIO(content)).pages]
    except FileNotDecryptedError:
        reason = "it is protected by a password. Save a copy without one"
        raise Unreadable(reason) from None
    except DependencyError:
        raise Unreadable("it is encrypted. Run: pip install 'pypdf[crypto]'") from None
    except Exception as error:  # noqa: BLE001 - a broken file may break any part of the reader
        first = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise Unreadable(f"it is no PDF, or a broken one ({first}). Save it anew") from None
    if not any(page.strip() for page in pages):
        raise Unreadable("it has pictures and no text. Run text recognition (OCR) on it first")
    return pages
