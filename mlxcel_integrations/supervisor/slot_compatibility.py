"""Compatibility of slots: which servers may restore what the slots of another one held."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator

from ..embedded import ENGINE_PACKAGE, MODEL_PACKAGE
from ..embedded.adapter import EXPECTED_SHA256
from .binary import EMBEDDED, Dialect

__all__ = ["slot_compatibility_key"]

_SPLIT_MODEL_FILE = re.compile(r"(.+)-\d{5}-of-(\d{5})\.gguf", re.ASCII)
"""Names of the files of a model that is split, of which a command line names one."""

_SAMPLES = 64
_SAMPLE_BYTES = 4096


def slot_compatibility_key(command: Iterable[str], dialect: Dialect) -> str:
    """Return a name that only servers with interchangeable slots share.

    It changes with each option, the version of the engine, and the content of each file that the
    command line names: the model, the program, adapters.

    Args:
        command: The command line of a server, with an address that is always the same.
        dialect: What kind of server it is.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in (*command, *_versions(dialect)):
        digest.update(os.fsencode(part) + b"\0")
        for path in _files(part.rpartition("=")[2] if part.startswith("-") else part):
            for piece in _file_identity(path):
                digest.update(piece)
    return digest.hexdigest()


def _versions(dialect: Dialect) -> list[str]:
    """Return what stands for the files that the command line does not name."""
    if dialect is not EMBEDDED:
        return []
    # Most servers need neither this nor the time to import it.
    from importlib.metadata import PackageNotFoundError, version

    try:
        packages = [version(package) for package in (ENGINE_PACKAGE, MODEL_PACKAGE)]
    except PackageNotFoundError:
        return []
    return [*packages, EXPECTED_SHA256]


def _files(word: str) -> Iterator[str]:
    """Yield the paths that a word of a command line may be: one, or a list with scales."""
    listed = word.split(",")
    # llama-server takes adapters as "one.gguf:0.5,other.gguf:1".
    scaled = [path.rpartition(":")[0] for path in listed]
    for path in dict.fromkeys((word, *listed, *scaled)):
        yield from _split_files(path)


def _split_files(path: str) -> list[str]:
    """Return the paths of all files of a model, which may be split."""
    split = _SPLIT_MODEL_FILE.fullmatch(path)
    if split is None:
        return [path]
    name, count = split.groups()
    return [f"{name}-{number:05}-of-{count}.gguf" for number in range(1, int(count) + 1)]


def _file_identity(path: str) -> Iterator[bytes]:
    """Yield size, time and samples of a file; nothing if there is none.

    Reading a whole model would take as long as loading it. Another model with the same size and
    time has other weights everywhere.
    """
    try:
        status = os.stat(path)  # noqa: PTH116  most words are not paths
        # To open a pipe could take forever, and what is read from it is gone.
        if not stat.S_ISREG(status.st_mode):
            return
        with open(path, "rb") as file:  # noqa: PTH123
            yield f"{status.st_size} {status.st_mtime_ns}".encode()
            for sample in range(_SAMPLES):
                file.seek(status.st_size * sample // _SAMPLES)
                yield file.read(_SAMPLE_BYTES)
    except (OSError, ValueError):
        return
