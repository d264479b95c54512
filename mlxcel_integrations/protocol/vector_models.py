"""What ``/v1/embeddings`` and ``/v1/rerank`` answer, read and checked."""

from __future__ import annotations

import math
import sys
from array import array
from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import MlxcelError

__all__ = ["EMBEDDINGS", "RERANK", "Vector", "check_size", "read_scores", "read_vectors"]

EMBEDDINGS, RERANK = "/v1/embeddings", "/v1/rerank"

Vector = list[float]


def read_vectors(answer: Any, count: int) -> list[Vector]:
    """Read an answer of ``/v1/embeddings``, in the order of the texts.

    Raises:
        MlxcelError: It holds no vectors, or those of other texts.
    """
    try:
        entries = _by_index(answer["data"], count)
        vectors = [_numbers(entry["embedding"]) for entry in entries]
        # Any infinite number, or one that is none, makes the sum such a number.
        sound = all(map(math.isfinite, map(sum, vectors)))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise MlxcelError(_nonsense(EMBEDDINGS, f"{count} vectors")) from None
    if not sound:
        raise MlxcelError(
            "The server made a vector with numbers that are infinite or undefined: the model is "
            "damaged, or not made for embeddings. Try another one."
        )
    return vectors


def read_scores(answer: Any, count: int) -> list[float]:
    """Read an answer of ``/v1/rerank``, in the order of the documents.

    Raises:
        MlxcelError: It holds no scores, or those of other documents.
    """
    try:
        entries = _by_index(answer["results"], count)
        scores = [float(entry["relevance_score"]) for entry in entries]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise MlxcelError(_nonsense(RERANK, f"{count} scores")) from None
    if not all(map(math.isfinite, scores)):
        raise MlxcelError(_nonsense(RERANK, f"{count} scores"))
    return scores


def _by_index(entries: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """Return the entries in the order of their ``index``.

    Raises:
        ValueError: There is not exactly one for each.
    """
    ordered = sorted(entries, key=lambda entry: entry["index"])
    if [entry["index"] for entry in ordered] != list(range(count)):
        raise ValueError
    return ordered


def _numbers(data: str | list[Any]) -> Vector:
    """Return the numbers of a vector, which come as bytes or as JSON."""
    if not isinstance(data, str):
        return list(map(float, data))
    numbers = array("f")
    numbers.frombytes(a2b_base64(data))
    if sys.byteorder == "big":  # pragma: no cover # of other machines
        numbers.byteswap()
    return numbers.tolist()


def check_size(vectors: Sequence[Vector], dimensions: int | None) -> None:
    """Check that vectors can be compared, and have as many numbers as were asked for.

    Raises:
        MlxcelError: They cannot, or have more or fewer.
    """
    sizes = set(map(len, vectors))
    if len(sizes) > 1 or sizes == {0}:
        raise MlxcelError(
            f"The server made vectors of {' and '.join(map(str, sorted(sizes)))} numbers, which "
            "cannot be compared. Check that one model alone serves embeddings."
        )
    if dimensions is not None and sizes != {dimensions}:
        raise MlxcelError(
            f"dimensions={dimensions} was asked for, and the vectors have {sizes.pop()} numbers: "
            "the server cannot shorten those of this model. Leave dimensions= out."
        )


def _nonsense(route: str, expected: str) -> str:
    return (
        f"The server's {route} did not answer {expected}, one for each text. Check that the "
        "address is that of an mlxcel server, and that the model makes one vector for a text."
    )
