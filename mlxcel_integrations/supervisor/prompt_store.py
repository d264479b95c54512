"""Kept prompts: what the slots of servers had read, as files in a private directory of the user."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import stat
import struct
import time
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path

__all__ = ["PromptStore", "prompt_logger"]

prompt_logger = logging.getLogger("mlxcel.prompts")

_CHECKSUM_DIGITS = 32
_KEPT_NAME = re.compile(rf"[0-9a-f]{{{_CHECKSUM_DIGITS}}}\.slot", re.ASCII)
"""Names of kept prompts: the checksum of what is in the file."""

_MAGIC = b"qsgg"
_FILE_HEADER = struct.Struct("<4sII")
_TOKEN_BYTES = 4
"""How llama.cpp's files begin: with this word, a version, the number of tokens, and each token."""

_UNFINISHED = ".part"
_UNFINISHED_SECONDS = 3600.0
"""Age from which an unfinished file was left by a server that was killed."""


@dataclass(frozen=True, slots=True)
class PromptStore:
    """The kept prompts that servers of one kind may restore.

    Servers write and read the files themselves. Nothing here fails: without a prompt, a server
    only has to read it again.

    Attributes:
        directory: Where their files are, beside the directories of other kinds.
        max_bytes: Largest size of the files of all kinds together.
    """

    directory: Path
    max_bytes: int

    def make(self) -> bool:
        """Make the directory, which only this user can enter; False if that is impossible."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in (self.directory.parent, self.directory):
                path.chmod(0o700)
        except OSError as error:
            prompt_logger.debug("Prompts cannot be kept in %s: %s", self.directory, error.strerror)
            return False
        return True

    def unfinished(self, slot: int) -> str:
        """Return the name under which a server is to save a slot; see ``keep``."""
        return f"{os.getpid()}-{slot}{_UNFINISHED}"

    def keep(self, name: str, size: int, used_at: int) -> None:
        """Keep a file that a server has finished, and remove the oldest beyond the limit.

        Args:
            name: As ``unfinished`` returned it.
            size: How many bytes the server has written.
            used_at: When the prompt was used last, in nanoseconds: of two, the older goes first.
        """
        path = self.directory / name
        try:
            path.chmod(0o600)
            if path.stat().st_size == size:
                os.utime(path, ns=(used_at, used_at))
                kept = path.replace(self.directory / f"{_checksum(path)}.slot")
                self._remove_earlier(kept)
        except OSError as error:
            prompt_logger.debug("%s is not kept: %s", path, error.strerror)
        self.remove_oldest()

    def drop(self, name: str) -> None:
        """Remove a file that a server has not finished, or that it refuses."""
        with contextlib.suppress(OSError):
            (self.directory / name).unlink()

    def make_room(self, tokens: int, used_at: int) -> bool:
        """Remove the oldest file if the disk is full, and the prompt would fit without older ones.

        Args:
            tokens: Length of that prompt, 0 if unknown.
            used_at: When it was used, in nanoseconds; files that were used since then stay.

        Returns:
            Whether there is more room now.
        """
        with contextlib.suppress(OSError):
            older = [
                (path, status.st_size)
                for path in reversed(_newest_first(self.directory.parent, "*/*"))
                if _KEPT_NAME.fullmatch(path.name) and (status := path.stat()).st_mtime_ns < used_at
            ]
            free = shutil.disk_usage(self.directory).free
            # If nothing is known, the prompt is assumed to be as large as another one.
            needed = self._size_of(tokens) or (older[0][1] if older else 0)
            if free < needed <= free + sum(size for _, size in older):
                path = older[0][0]
                path.unlink()
                prompt_logger.debug("%s was removed: the disk is full.", path)
                return True
        return False

    def remove_oldest(self) -> None:
        """Remove the oldest files beyond the limit, and those that killed servers left."""
        total = 0
        for path in _newest_first(self.directory.parent, "*/*"):
            # Another program may have removed it.
            with contextlib.suppress(OSError):
                total += self._kept_bytes(path, self.max_bytes - total)

    def newest(self, count: int) -> list[str]:
        """Return the names of the newest intact files, the newest first; others are removed."""
        names: list[str] = []
        for path in self._newest_kept():
            if len(names) == count:
                break
            if self._is_intact(path):
                names.append(path.name)
        return names

    def _is_intact(self, path: Path) -> bool:
        try:
            if _checksum(path) == path.stem:
                return True
        except OSError as error:
            prompt_logger.debug("%s cannot be read: %s", path, error.strerror)
            return False
        prompt_logger.debug("%s is damaged, and was removed.", path)
        self.drop(path.name)
        return False

    def _remove_earlier(self, kept: Path) -> None:
        """Remove older files of the same prompt: a server writes other bytes each time."""
        tokens = _saved_tokens(kept)
        # Not newer ones, so that of two programs that save at once, one keeps its file.
        for path in dropwhile(lambda path: path != kept, self._newest_kept()):
            if tokens and path != kept and _saved_tokens(path) == tokens:
                self.drop(path.name)

    def _newest_kept(self) -> list[Path]:
        newest = _newest_first(self.directory, "*")
        return [path for path in newest if _KEPT_NAME.fullmatch(path.name)]

    def _size_of(self, tokens: int) -> int:
        """Estimate the bytes of a prompt by those that are kept; 0 if there are none."""
        return int(tokens * max(map(_bytes_per_token, self._newest_kept()), default=0.0))

    def _kept_bytes(self, path: Path, room: int) -> int:
        """Return the bytes of a kept file; one for which there is no room is removed."""
        status = path.stat()
        if path.suffix == _UNFINISHED and time.time() - status.st_mtime > _UNFINISHED_SECONDS:
            path.unlink()
        if not _KEPT_NAME.fullmatch(path.name):
            return 0
        if status.st_size <= room:
            return status.st_size
        prompt_logger.debug("%s was removed: keep_prompts_mb is reached.", path)
        path.unlink()
        return 0


def _newest_first(directory: Path, pattern: str) -> list[Path]:
    dated = []
    for path in directory.glob(pattern):
        with contextlib.suppress(OSError):
            status = path.lstat()
            # To open a pipe, or to read a device that a link names, could take forever.
            if stat.S_ISREG(status.st_mode):
                dated.append((status.st_mtime_ns, path))
    return [path for _, path in sorted(dated, reverse=True)]


def _bytes_per_token(path: Path) -> float:
    """Return the bytes that each token takes in a file; 0 for one in another form."""
    tokens = len(_saved_tokens(path)) / _TOKEN_BYTES
    return path.stat().st_size / tokens if tokens else 0.0


def _saved_tokens(path: Path) -> bytes:
    """Return the tokens at the beginning of a file; none for one in another form."""
    # Another program may have removed it.
    with contextlib.suppress(OSError), path.open("rb") as file:
        beginning = file.read(_FILE_HEADER.size)
        if beginning.startswith(_MAGIC) and len(beginning) == _FILE_HEADER.size:
            count: int = _FILE_HEADER.unpack(beginning)[2]
            # Python allocates all that is asked for, and a damaged file may hold any number.
            return file.read(min(count * _TOKEN_BYTES, path.stat().st_size))
    return b""


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:_CHECKSUM_DIGITS]
