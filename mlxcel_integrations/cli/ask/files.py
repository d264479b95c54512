"""Files of the user: find them in folders, read them, and count what is skipped."""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import MlxcelError
from ..terminal import on_one_line
from .documents import MAX_FILE_BYTES, Unreadable, is_binary, read_document
from .passages import Passage
from .store import Store

__all__ = ["STANDARD_INPUT", "Corpus", "UnreadableFile", "file_content", "path_of"]

STANDARD_INPUT = "-"
_TOO_LARGE = f"it is larger than {MAX_FILE_BYTES // 1_000_000} MB. Split it"
_LINKS_OUT = "links out of the folder"
_MAX_LISTED_KINDS = 6
_FIRST_BYTES = 8192


class _Skipped(Exception):
    """A file in a folder has nothing to read; the message is its kind."""


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file that was not read.

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
        skipped: The entries of folders that are not texts: pictures, programs, devices, links.
    """

    def __init__(self) -> None:
        self.files = 0
        self.passages: list[Passage] = []
        self.left_out: list[UnreadableFile] = []
        self.skipped: list[UnreadableFile] = []
        self._bytes = self._bytes_found = 0

    def read(self, names: Sequence[str], store: Store) -> None:
        """Read files, and all texts and documents in folders.

        Args:
            names: Files and folders, or ``-``; hidden files in folders are skipped.
            store: Where texts that are slow to extract are kept.

        Raises:
            MlxcelError: No text was found in any of them.
        """
        found = self._find_all(names)
        self._bytes_found = sum(map(_size, found))
        for path, folder in found.items():
            self._read_file(path, folder, store)
            self._bytes += _size(path)
        if not self.passages:
            raise MlxcelError(self._explain_nothing(names))

    @property
    def progress(self) -> str:
        """How much was read so far."""
        done, found = self._bytes / 1e6, self._bytes_found / 1e6
        return f"{self.files} files, {done:.0f} of {found:.0f} MB"

    @property
    def skipped_text(self) -> str:
        """The number of skipped files, by their kinds: "7 files skipped: 4 .png, 3 .zip"."""
        counts = Counter(file.reason for file in self.skipped)
        kinds = sorted(counts.items(), key=lambda kind: (-kind[1], kind[0]))
        named = [f"{count} {kind}" for kind, count in kinds[:_MAX_LISTED_KINDS]]
        others = sum(count for _, count in kinds[_MAX_LISTED_KINDS:])
        files = "1 file" if len(self.skipped) == 1 else f"{len(self.skipped)} files"
        if others:
            named.append("1 other" if others == 1 else f"{others} others")
        return f"{files} skipped: {', '.join(named)}"

    def _find_all(self, names: Sequence[str]) -> dict[str, Path | None]:
        """Return the files of all arguments, each once even if others link to it."""
        found: dict[str, tuple[str, Path | None]] = {}
        for name in names:
            for path, folder in self._find(name):
                target = path if path == STANDARD_INPUT else os.path.realpath(path)
                if target not in found or (_is_link(found[target][0]) and not _is_link(path)):
                    found[target] = path, folder
        return dict(found.values())

    def _find(self, name: str) -> Iterator[tuple[str, Path | None]]:
        """Yield the files of an argument, each with the folder in which it was found."""
        path = path_of(name)
        # An empty name would mean the current folder.
        if name in ("", STANDARD_INPUT) or not path.is_dir():
            yield (name if name == STANDARD_INPUT else _file_name(path)), None
            return
        root = Path(os.path.realpath(path))
        for folder, folders, files in os.walk(path, onerror=self._leave_out_folder):
            folders[:] = sorted(child for child in folders if not child.startswith("."))
            for child in folders:
                if _links_out(Path(folder) / child, root):
                    self._skip(Path(folder) / child, _LINKS_OUT)
            for file in sorted(files):
                if not file.startswith("."):
                    yield from self._check_file(Path(folder) / file, root)

    def _check_file(self, path: Path, root: Path) -> Iterator[tuple[str, Path]]:
        """Yield a file of a folder, unless it is a device or a link to somewhere else."""
        if _links_out(path, root):
            self._skip(path, _LINKS_OUT)
        elif path.exists() and not path.is_file():
            self._skip(path, "not regular files")
        else:
            yield _file_name(path), root

    def _read_file(self, name: str, folder: Path | None, store: Store) -> None:
        try:
            content = file_content(name, folder)
            self.passages += read_document(_shown_name(name), content, store)
            self.files += 1
        except _Skipped as error:
            self._skip(name, str(error))
        except OSError as error:
            self._leave_out(name, f"{error.strerror}. Check the path and its permissions")
        except Unreadable as error:
            self._leave_out(name, str(error))

    def _leave_out_folder(self, error: OSError) -> None:
        self._leave_out(error.filename, f"{error.strerror}. Check its permissions")

    def _leave_out(self, path: str, reason: str) -> None:
        self.left_out.append(UnreadableFile(_shown_name(path), reason))

    def _skip(self, path: str | Path, kind: str) -> None:
        self.skipped.append(UnreadableFile(str(path), kind))

    def _explain_nothing(self, names: Sequence[str]) -> str:
        if not self.left_out:
            skipped = f" {self.skipped_text}." if self.skipped else ""
            return f"There is no text to read in {on_one_line(', '.join(names))}.{skipped}"
        first = self.left_out[0]
        others = len(self.left_out) - 1 + len(self.skipped)
        more = f" {others} more could not be read either." if others else ""
        return f"Cannot read {on_one_line(first.name)}: {first.reason}.{more}"


def file_content(name: str, folder: Path | None = None) -> bytes:
    """Return what is in a file.

    Args:
        name: Its path, or ``-`` for standard input.
        folder: The folder in which it was found, without links; then a file that is not text, or is
            no longer in that folder, is skipped.

    Raises:
        Unreadable: It is too large, or not a regular file.
        OSError: It cannot be opened.
    """
    if name == STANDARD_INPUT:
        content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise Unreadable(_TOO_LARGE)
        return content
    # Without blocking, since it may have become a pipe.
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("it is not a regular file. Pass a file or a folder")
        if folder is not None and not _is_in(folder, name, status):
            raise _Skipped(_LINKS_OUT)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            # None for a file of the kernel that has nothing to read at the moment.
            content = file.read(_FIRST_BYTES) or b""
            if folder is not None and is_binary(name, content):
                raise _Skipped(on_one_line(Path(name).suffix.lower()) or "without a suffix")
            if status.st_size <= MAX_FILE_BYTES:
                # It may grow meanwhile, or not report its size.
                content += file.read(MAX_FILE_BYTES + 1 - len(content)) or b""
            if max(status.st_size, len(content)) > MAX_FILE_BYTES:
                raise Unreadable(_TOO_LARGE)
            return content
    finally:
        os.close(descriptor)


def path_of(name: str) -> Path:
    """Return the path that a user means; ``~name`` of an unknown user stays as it is."""
    return Path(os.path.expanduser(name))  # noqa: PTH111 - Path's method raises an error


def _file_name(path: Path) -> str:
    """Return the path of a file, written so that it never stands for standard input."""
    return f"./{path}" if str(path) == STANDARD_INPUT else str(path)


def _is_link(path: str) -> bool:
    return Path(path).is_symlink()


def _links_out(path: Path, folder: Path) -> bool:
    return path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(folder)


def _is_in(folder: Path, name: str, status: os.stat_result) -> bool:
    """Return whether an open file is in a folder: its path may have become a link before that."""
    path = Path(os.path.realpath(name))
    return path.is_relative_to(folder) and os.path.samestat(status, path.lstat())


def _shown_name(name: str) -> str:
    return "standard input" if name == STANDARD_INPUT else name


def _size(name: str) -> int:
    try:
        return Path(name).stat().st_size
    except OSError:
        return 0
