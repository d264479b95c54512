"""Files of the user: find them in folders, and read text, Markdown and PDF."""

from __future__ import annotations

import codecs
import hashlib
import logging
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from ...errors import MlxcelError
from .passages import Passage, cut_markdown, cut_pages, cut_text
from .store import Store

__all__ = ["Corpus", "UnreadableFile"]

_MARKDOWN = {".md", ".markdown"}
_IN_FOLDERS = _MARKDOWN | {".txt", ".text", ".rst", ".pdf"}
"""Suffixes that are read in a folder; a file passed by name may have any other."""

_LARGEST = 100_000_000
"""Bytes of a file; a larger one is likely a mistake, and may not fit into memory."""

# No text has these, and nearly every binary file has a zero byte.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_BYTE_ORDER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Unreadable(Exception):
    """No text can be read from a file; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file that could not be read.

    Attributes:
        name: Its path.
        reason: Why, and what to do.
    """

    name: str
    reason: str


class Corpus:
    """Passages of the files that were read.

    Attributes:
        files: Number of files that were read.
        passages: Their passages.
        left_out: The files that could not be read.
        skipped: The entries of folders that are not regular files, or lead out of their folder.
    """

    def __init__(self) -> None:
        self.files = 0
        self.passages: list[Passage] = []
        self.left_out: list[UnreadableFile] = []
        self.skipped: list[UnreadableFile] = []

    def read(self, names: Sequence[str], store: Store) -> None:
        """Read files, and in folders those with a suffix of text or PDF.

        Args:
            names: Files and folders; hidden files in folders are skipped.
            store: Where the text of PDFs is kept.

        Raises:
            MlxcelError: No text was found in any of them.
        """
        found = [path for name in names for path in self._find(name)]
        for path in dict.fromkeys(found):
            try:
                self.passages += _read_file(path, store)
                self.files += 1
            except OSError as error:
                self._leave_out(path, f"{error.strerror}. Check the path and its permissions")
            except Unreadable as error:
                self._leave_out(path, str(error))
        if not self.passages:
            raise MlxcelError(self._explain_nothing(names))

    def _find(self, name: str) -> Iterator[Path]:
        path = Path(name).expanduser()
        # An empty name would mean the current folder.
        if not name or not path.is_dir():
            yield path
            return
        root = Path(os.path.realpath(path))
        for folder, folders, files in os.walk(path, onerror=self._leave_out_folder):
            folders[:] = sorted(child for child in folders if not child.startswith("."))
            for file in sorted(files):
                if not file.startswith(".") and Path(file).suffix.lower() in _IN_FOLDERS:
                    yield from self._check(Path(folder) / file, root)

    def _check(self, path: Path, root: Path) -> Iterator[Path]:
        """Yield a file of a folder, unless it is a device or a link to somewhere else."""
        if not Path(os.path.realpath(path)).is_relative_to(root):
            self.skipped.append(UnreadableFile(str(path), "a link out of the folder"))
        elif path.exists() and not path.is_file():
            self.skipped.append(UnreadableFile(str(path), "not a regular file"))
        else:
            yield path

    def _leave_out_folder(self, error: OSError) -> None:
        self._leave_out(error.filename, f"{error.strerror}. Check its permissions")

    def _leave_out(self, path: str | Path, reason: str) -> None:
        self.left_out.append(UnreadableFile(str(path), reason))

    def _explain_nothing(self, names: Sequence[str]) -> str:
        left_out = [*self.left_out, *self.skipped]
        if not left_out:
            return (
                f"There is nothing to read in {', '.join(names)}. In folders, only these files are "
                f"read: {', '.join(sorted(_IN_FOLDERS))}. Pass others by name."
            )
        first, *others = left_out
        more = f" {len(others)} more could not be read either." if others else ""
        return f"Cannot read {first.name}: {first.reason}.{more}"


def _read_file(path: Path, store: Store) -> list[Passage]:
    content = _content(path)
    if not content.strip():
        raise Unreadable("it is empty")
    suffix = path.suffix.lower()
    if suffix == ".pdf" or content.startswith(b"%PDF-"):
        return cut_pages(str(path), _pages(content, store))
    text = _text(content)
    return (cut_markdown if suffix in _MARKDOWN else cut_text)(str(path), text)


def _content(path: Path) -> bytes:
    # Without blocking, since it may have become a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("it is not a regular file. Pass a file or a folder")
        if status.st_size > _LARGEST:
            raise Unreadable(f"it is larger than {_LARGEST // 1_000_000} MB. Split it")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _text(content: bytes) -> str:
    """Decode UTF-8, else UTF-16 with a byte order mark, else Windows-1252."""
    encoding = "utf-16" if content.startswith(_BYTE_ORDER_MARKS) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
    if _CONTROL.search(text):
        raise Unreadable("it is neither text nor PDF. Convert it first")
    return text


def _pages(content: bytes, store: Store) -> list[str]:
    """Return the text of the pages of a PDF, which is slow to extract and therefore kept."""
    key = hashlib.sha256(content).digest()
    pages = store.pages(key)
    if pages is None:
        pages = _extract(content)
        store.keep_pages(key, pages)
    return pages


def _extract(content: bytes) -> list[str]:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError

    # It logs each flaw of a file, even of one that it can read.
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
        raise Unreadable(f"it is not a valid PDF ({first}). Save it again") from None
    if not any(page.strip() for page in pages):
        raise Unreadable("it has images but no text. Run text recognition (OCR) on it first")
    return pages
