"""Model file of the engine: the built-in one in the user's cache, or a file of the user."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from hashlib import file_digest
from pathlib import Path
from typing import Any

from ..errors import MlxcelError
from . import BUILT_IN_MODEL, INSTALL, MODEL_PACKAGE, is_embedded

__all__ = ["cache_directory", "locate_model"]


def locate_model(model: str, cache: Path | None = None) -> Path:
    """Return the file of a model; the built-in one is made first if need be.

    Args:
        model: ``"embedded"``, or the path of a ``.gguf`` file.
        cache: Directory of the built-in model; ``cache_directory()`` unless given.

    Raises:
        MlxcelError: The model is for another server, or the built-in one cannot be made.
    """
    if not is_embedded(model):
        raise MlxcelError(
            f"Cannot serve {model!r}: this engine takes 'embedded' or a path that ends in .gguf. "
            "Other models need mlxcel."
        )
    return _builtin(cache or cache_directory()) if model == BUILT_IN_MODEL else Path(model)


def cache_directory() -> Path:
    """Return the directory of this package's files, below the platform's directory for caches."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        base = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return base / "mlxcel-integrations"


def _builtin(directory: Path) -> Path:
    try:
        package = importlib.import_module(MODEL_PACKAGE)
    except ImportError:
        raise MlxcelError(f"The built-in model is not installed: {INSTALL}") from None
    path = directory / str(package.MODEL_NAME)
    try:
        if not _is_intact(path, package.EXPECTED_SHA256):
            _assemble(path, package)
    except OSError as error:
        raise MlxcelError(
            f"Cannot keep the built-in model in {directory}: {error.strerror}. It needs 253 MB "
            "there; make room, or choose another directory with XDG_CACHE_HOME."
        ) from None
    except ValueError:
        raise MlxcelError(
            f"The package {MODEL_PACKAGE} is damaged: the checksum of its model is wrong. "
            "Install it again with pip install --force-reinstall."
        ) from None
    return path


def _is_intact(path: Path, checksum: str) -> bool:
    """Check the whole file if it has changed since the last check, else only that it has not."""
    if not path.exists():
        return False
    if _stamp_file(path).exists() and _stamp_file(path).read_text() == _stamp(path):
        return True
    with path.open("rb") as file:
        intact = file_digest(file, "sha256").hexdigest() == checksum
    if intact:
        _stamp_file(path).write_text(_stamp(path))
    return intact


def _assemble(path: Path, package: Any) -> None:
    """Assemble the model beside its place, so that no other process ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        part = Path(directory) / path.name
        package.assemble(part)
        part.replace(path)
    _stamp_file(path).write_text(_stamp(path))


def _stamp_file(path: Path) -> Path:
    return path.with_suffix(".checked")


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"
