"""Embeddings of texts: ``/v1/embeddings``."""

from __future__ import annotations

import math
import sys
from array import array
from binascii import a2b_base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...errors import MlxcelError
from ..arguments import as_strings, check_text
from ..failures import Failure
from ..flow import MISSING_ROUTE_STATUSES, Call, Flow
from .embedding_limits import fit_texts, known_limit, token_limit
from .vector_models import (
    BATCH_SIZE,
    BUILT_IN_EMBEDDER,
    Done,
    VectorMemory,
    batches,
    by_index,
    check_positive,
    common_fields,
    in_batches,
    refuse_missing_route,
    unusable,
)
from .word_pieces import mean_vectors, split_texts

__all__ = ["embed_texts"]

EMBEDDINGS_ROUTE = "/v1/embeddings"

BASE64_REFUSED_STATUSES = MISSING_ROUTE_STATUSES | {400, 422}
"""Statuses that may mean that a server does not know base64."""

Vector = list[float]

VECTOR_BYTES = 1024 * 1024
"""Largest answer for one text: far above any vector, even as decimal numbers."""


def embed_texts(
    texts: Iterable[str],
    memory: VectorMemory,
    done: Done,
    *,
    model: str | None = None,
    prefix: str = "",
    instruction: str | None = None,
    dimensions: int | None = None,
    batch_size: int = BATCH_SIZE,
    skip_empty: bool = False,
    truncate: bool = False,
) -> Flow[list[Vector]]:
    """Return the vector of each text, in the order of the texts.

    The arguments are those of ``LLM.embed``. ``done`` is called with the number of texts that
    have been embedded since the last call.

    Raises:
        MlxcelError: A text cannot be embedded, the server has no embeddings, or its answer is
            unusable.
    """
    texts = as_strings("texts", texts)
    check_positive(batch_size=batch_size, dimensions=dimensions)
    check_text("prefix", prefix)
    if not texts:
        return []
    filled = _non_empty(texts, skip_empty)
    # If all are empty, one embedding is made to learn the dimension.
    sent = [prefix + texts[index] for index in filled] or ["."]
    fields = yield from common_fields("embedding", memory, model, instruction)
    if dimensions is not None:
        fields["dimensions"] = dimensions
    flows = yield from _embedding_flows(sent, filled, fields, memory, batch_size, truncate)
    vectors: list[Vector] = yield from in_batches(flows, memory, done)
    check_dimensions(vectors, dimensions)
    if len(filled) == len(texts):
        return vectors
    done(len(texts) - len(vectors))
    return _with_zeros(vectors, filled, len(texts))


def _non_empty(texts: Sequence[str], skip_empty: bool) -> list[int]:
    """Return the indices of the texts that are not empty."""
    if not skip_empty and "" in texts:
        raise MlxcelError(
            f"texts[{texts.index('')}] is empty, and an empty text has no vector. Leave it out, or "
            "pass skip_empty=True for zeros in its place."
        )
    return [index for index, text in enumerate(texts) if text]


def _with_zeros(vectors: Sequence[Vector], filled: Sequence[int], count: int) -> list[Vector]:
    result = [[0.0] * len(vectors[0]) for _ in range(count)]
    for index, vector in zip(filled, vectors, strict=False):
        result[index] = vector
    return result


def _embedding_flows(
    texts: Sequence[str],
    places: Sequence[int],
    fields: Mapping[str, Any],
    memory: VectorMemory,
    batch_size: int,
    truncate: bool,
) -> Flow[list[Flow[list[Vector]]]]:
    """Return the flows that embed texts, one for each request.

    Args:
        texts: The texts.
        places: The index of each in the user's list.
        fields: The other fields of the requests.
        memory: What is known about the server.
        batch_size: Most texts in one request.
        truncate: Whether to cut texts that are longer than the model embeds.

    Raises:
        MlxcelError: A text is too long, and ``truncate`` is off.
    """
    if fields["model"] == BUILT_IN_EMBEDDER:
        groups = batches(texts, batch_size)
        return [_embed_parts(group, fields, memory, truncate) for group in groups]
    limit = yield from known_limit(texts, fields["model"], memory)
    if limit is not None:
        texts = yield from fit_texts(texts, places, limit, truncate, memory)
    flows, first = [], 0
    for batch in batches(texts, batch_size):
        own = places[first : first + len(batch)]
        flows.append(_embed_batch(batch, own, fields, memory, truncate))
        first += len(batch)
    return flows


def _embed_batch(
    texts: Sequence[str],
    places: Sequence[int],
    fields: Mapping[str, Any],
    memory: VectorMemory,
    truncate: bool,
) -> Flow[list[Vector]]:
    """Return the vectors of the texts of one request; a refusal may reveal the token limit."""
    answer = yield from _request_vectors(texts, fields, memory, too_long=memory.counts_exactly)
    limit = token_limit(answer) if isinstance(answer, Failure) else None
    if limit is not None:
        memory.limits[fields["model"]] = limit
        texts = yield from fit_texts(texts, places, limit, truncate, memory)
        answer = yield from _request_vectors(texts, fields, memory, too_long=False)
    return read_vectors(answer, len(texts))


def _embed_parts(
    texts: Sequence[str], fields: Mapping[str, Any], memory: VectorMemory, truncate: bool
) -> Flow[list[Vector]]:
    """Return the vectors of texts that the built-in embedder reads in parts if they are long."""
    parts = yield from split_texts(texts, truncate, memory.tokens)
    vectors: list[Vector] = []
    for batch in batches([part for text in parts for part in text], BATCH_SIZE):
        answer = yield from _request_vectors(batch, fields, memory, too_long=False)
        vectors += read_vectors(answer, len(batch))
    return mean_vectors(vectors, parts)


def _request_vectors(
    texts: Sequence[str | list[int]],
    fields: Mapping[str, Any],
    memory: VectorMemory,
    *,
    too_long: bool,
) -> Flow[Any]:
    """Return the answer of the server, as bytes if it can send them.

    Args:
        texts: The texts, or the ids of their tokens.
        fields: The other fields of the request.
        memory: What is known about the server.
        too_long: Whether to return the refusal of a text that is too long.
    """
    body = {**fields, "input": texts}
    most_bytes = VECTOR_BYTES * len(texts)

    def handles(failure: Failure) -> bool:
        return too_long and token_limit(failure) is not None

    if memory.base64 is not False:
        expected = MISSING_ROUTE_STATUSES if memory.base64 else BASE64_REFUSED_STATUSES
        short = {**body, "encoding_format": "base64"}
        answer = yield Call(EMBEDDINGS_ROUTE, short, expected, handles, most_bytes=most_bytes)
        if not isinstance(answer, Failure):
            memory.base64 = True
            return answer
        refuse_missing_route(answer, "embedding")
        if handles(answer):
            return answer
    answer = yield Call(EMBEDDINGS_ROUTE, body, handles=handles, most_bytes=most_bytes)
    refuse_missing_route(answer, "embedding")
    if not isinstance(answer, Failure):
        memory.base64 = False
    return answer


def read_vectors(answer: Any, count: int) -> list[Vector]:
    """Read an answer of ``/v1/embeddings``, in the order of the texts.

    Raises:
        MlxcelError: It does not hold one vector of finite numbers for each text.
    """
    try:
        entries = by_index(answer["data"], count)
        vectors = [_decoded_vector(entry["embedding"]) for entry in entries]
        # Any infinite or undefined number makes the sum infinite or undefined.
        sound = all(map(math.isfinite, map(sum, vectors)))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise unusable(EMBEDDINGS_ROUTE, f"{count} vectors") from None
    if not sound:
        raise MlxcelError(
            "The server made a vector with numbers that are infinite or undefined: the model is "
            "damaged, or not made for embeddings. Try another one."
        )
    return vectors


def _decoded_vector(data: str | list[Any]) -> Vector:
    """Return the numbers of a vector, which come as bytes or as JSON."""
    if not isinstance(data, str):
        return list(map(float, data))
    numbers = array("f")
    numbers.frombytes(a2b_base64(data))
    if sys.byteorder == "big":  # pragma: no cover # of other machines
        numbers.byteswap()
    return numbers.tolist()


def check_dimensions(vectors: Sequence[Vector], dimensions: int | None) -> None:
    """Check that vectors can be compared, and have the requested length.

    Raises:
        MlxcelError: Their lengths differ, or are not the requested one.
    """
    sizes = set(map(len, vectors))
    if len(sizes) > 1 or sizes == {0}:
        raise MlxcelError(
            f"The server made vectors of {' and '.join(map(str, sorted(sizes)))} numbers, which "
            "cannot be compared. Check that only one model serves embeddings."
        )
    if dimensions is not None and sizes != {dimensions}:
        raise MlxcelError(
            f"dimensions={dimensions} was requested, but the vectors have {sizes.pop()} numbers: "
            "the server cannot shorten those of this model. Leave dimensions= out."
        )
