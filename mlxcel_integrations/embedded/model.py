"""Model file of the engine: a built-in one in the user's cache, or a file of the user."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from ..errors import MlxcelError
from . import (
    BUILT_IN_EMBEDDER,
    BUILT_IN_MODEL,
    EMBEDDER_PACKAGE,
    INSTALL,
    MODEL_PACKAGE,
    is_embedded,
)

__all__ = ["cache_directory", "locate_model"]


def locate_model(model: str, cache: Path | None = None) -> Path:
    """Return the file of a model; a built-in one is made first if it is missing.

    Args:
        model: The name of a built-in model, or the path of a ``.gguf`` file.
        cache: Directory of the built-in models; ``cache_directory()`` unless given.

    Raises:
        MlxcelError: The model is for another server, or a built-in one cannot be made.
    """
    if not is_embedded(model):
        raise MlxcelError(
            f"Cannot serve {model!r}: this engine takes 'embedded' or a path that ends in .gguf. "
            "Other models need mlxcel."
        )
    return _built_in_file(model, cache or cache_directory()) if model in _BUILT_IN else Path(model)


def cache_directory() -> Path:
    """Return the directory of this package's files, below the platform's directory for caches."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        base = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return base / "mlxcel-integrations"


@dataclass(frozen=True, slots=True)
class _BuiltIn:
    """A model that is made from an installed package.

    Attributes:
        name: Name of its file.
        checksum: SHA-256 of the file.
        megabytes: Size of the file.
        assemble: Writes the file; raises ``ValueError`` if the package is damaged.
    """

    name: str
    checksum: str
    megabytes: int
    assemble: Callable[[Path], object]


def _chat_model() -> _BuiltIn:
    package = importlib.import_module(MODEL_PACKAGE)
    return _BuiltIn(package.MODEL_NAME, package.EXPECTED_SHA256, 253, package.assemble)


def _embedder() -> _BuiltIn:
    # Imported here since most starts do not need it.
    from . import minilm

    package = importlib.import_module(EMBEDDER_PACKAGE)

    def assemble(path: Path) -> None:
        minilm.assemble(path, package.model_path())

    return _BuiltIn(minilm.MODEL_NAME, minilm.EXPECTED_SHA256, 25, assemble)


_BUILT_IN = {
    BUILT_IN_MODEL: (MODEL_PACKAGE, _chat_model),
    BUILT_IN_EMBEDDER: (EMBEDDER_PACKAGE, _embedder),
}


def _built_in_file(name: str, directory: Path) -> Path:
    package, load = _BUILT_IN[name]
    try:
        model = load()
    except ImportError:
        raise MlxcelError(
            f"The built-in model is not installed ({package} is missing): {INSTALL}"
        ) from None
    path = directory / model.name
    try:
        if not _is_intact(path, model.checksum):
            _assemble(path, model)
    except OSError as error:
        raise MlxcelError(
            f"Cannot keep the built-in model in {directory}: {error.strerror}. It needs "
            f"{model.megabytes} MB there; make room, or choose another directory with "
            "XDG_CACHE_HOME."
        ) from None
    except ValueError:
        raise MlxcelError(
            f"The package {package} is damaged: the checksum of its model is wrong. "
            "Install it again with pip install --force-reinstall."
        ) from None
    return path


def _is_intact(path: Path, checksum: str) -> bool:
    """Return whether a file is intact; it is read only if it has changed since the last check."""
    if not path.exists():
        return False
    if _stamp_file(path).exists() and _stamp_file(path).read_text() == _stamp(path):
        return True
    with path.open("rb") as file:
        intact = file_digest(file, "sha256").hexdigest() == checksum
    if intact:
        _stamp_file(path).write_text(_stamp(path))
    return intact


def _assemble(path: Path, model: _BuiltIn) -> None:
    """Assemble the model beside its place, so that no other process ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        part = Path(directory) / path.name
        model.assemble(part)
        part.replace(path)
    _stamp_file(path).write_text(_stamp(path))


def _stamp_file(path: Path) -> Path:
    return path.with_suffix(".checked")


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"
