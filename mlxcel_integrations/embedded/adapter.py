"""Adapter of the built-in model: weights that are added to its own, so that it answers questions.

It is part of this package, see ``NOTICE`` for its licence; ``tests/training`` makes it.
"""

from __future__ import annotations

from hashlib import file_digest
from pathlib import Path

from ..errors import MlxcelError

__all__ = ["EXPECTED_SHA256", "locate_adapter"]

EXPECTED_SHA256 = "fa7979803c9c7144a305a22128292f97f64b00bef35ae6b2eb5594ab33605d4f"
"""Checksum of the file."""

_PATH = Path(__file__).with_name("short-answers.gguf")


def locate_adapter(path: Path = _PATH) -> Path:
    """Return the file of the adapter.

    Raises:
        MlxcelError: It is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            intact = file_digest(file, "sha256").hexdigest() == EXPECTED_SHA256
    except OSError:
        intact = False
    if not intact:
        raise MlxcelError(
            f"{path} is missing or damaged, and the built-in model needs it. Install this package "
            "again with pip install --force-reinstall."
        )
    return path
