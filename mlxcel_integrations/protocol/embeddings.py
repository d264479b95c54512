"""Embeddings and reranking: which requests are sent, and what the answers are together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import MlxcelError
from .failures import Failure
from .features import choose_capable, engine_of, read_models
from .flow import MISSING_ROUTE, REJECTED, Call, Flow, Gather
from .validation import as_count
from .vector_models import EMBEDDINGS, RERANK, Vector, check_size, read_scores, read_vectors

__all__ = ["BATCH_SIZE", "RankedDocument", "VectorMemory", "embed_texts", "rerank_documents"]

BATCH_SIZE = 64
"""Texts of one request, unless asked otherwise."""

BATCH_TOKENS = 16_384
"""Tokens of one request, about: a slow machine answers it well within the usual timeout."""

USUAL_SLOTS = 4

REFUSED_FORM = MISSING_ROUTE | {400, 422}
"""Statuses of a server that does not know base64, among others."""

_FLAGS = {
    "embedding": "Embeddings need a model for them: start the server with embedding_model= "
    "(mlxcel after 0.4.2, --embedding-model on its command line), or llama-server with "
    "--embeddings.",
    "rerank": "Reranking needs a model for it: start the server with reranker_model= "
    "(mlxcel after 0.4.2, --reranker-model on its command line), or llama-server with "
    "--reranking.",
}

Capability = Literal["embedding", "rerank"]
Done = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document, and how relevant it is to a query.

    Attributes:
        index: Its place in the list that was given.
        relevance_score: How relevant it is, more being better: from 0 to 1 with mlxcel.
        document: Its text.
    """

    index: int
    relevance_score: float
    document: str


class VectorMemory:
    """What has been found out about vectors on one server.

    Args:
        preferred: The model to take where several can do what is asked for.

    Attributes:
        models: Which model does what.
        base64: Whether numbers come as bytes if asked for, None if not tried yet.
        props: What the server says about itself, None if not asked yet.
    """

    def __init__(self, preferred: str | None = None) -> None:
        self.preferred = preferred
        self.forget()

    def forget(self) -> None:
        """Start anew: the server is another now."""
        self.models: dict[Capability, str] = {}
        self.base64: bool | None = None
        self.props: Mapping[str, Any] | None = None


def embed_texts(
    texts: Sequence[str],
    memory: VectorMemory,
    done: Done,
    *,
    model: str | None,
    prefix: str,
    instruction: str | None,
    dimensions: int | None,
    batch_size: int,
    skip_empty: bool,
) -> Flow[list[Vector]]:
    """Return the vector of each text, in the order of the texts.

    The arguments are those of ``LLM.embed``, and ``done``, which is told how many more are done.

    Raises:
        MlxcelError: A text cannot be embedded, the server embeds nothing, or answers nonsense.
    """
    texts = _checked("texts", texts)
    _check_at_least_one(batch_size=batch_size, dimensions=dimensions)
    if not texts:
        return []
    filled = _filled(texts, skip_empty)
    # If all are empty, any text tells how many zeros there are to be.
    sent = [prefix + texts[index] for index in filled] or ["."]
    fields = yield from _fields("embedding", memory, model, instruction)
    if dimensions is not None:
        fields["dimensions"] = dimensions
    flows = [_embed_batch(batch, fields, memory) for batch in _batches(sent, batch_size)]
    vectors: list[Vector] = yield from _in_batches(flows, memory, done)
    check_size(vectors, dimensions)
    if len(filled) == len(texts):
        return vectors
    done(len(texts) - len(vectors))
    return _with_zeros(vectors, filled, len(texts))


def rerank_documents(
    query: str,
    documents: Sequence[str],
    memory: VectorMemory,
    *,
    model: str | None,
    instruction: str | None,
    top_n: int | None,
    batch_size: int,
) -> Flow[list[RankedDocument]]:
    """Return the documents by their relevance to a query, the most relevant first.

    The arguments are those of ``LLM.rerank``.

    Raises:
        MlxcelError: A document cannot be ranked, the server ranks nothing, or answers nonsense.
    """
    documents = _checked("documents", documents)
    _check_at_least_one(batch_size=batch_size, top_n=top_n)
    if not isinstance(query, str) or not query:
        raise MlxcelError(f"query={query!r} is no text to look for: pass a text.")
    if not documents:
        return []
    fields = yield from _fields("rerank", memory, model, instruction)
    fields["query"] = query
    flows = [_rank_batch(batch, fields) for batch in _batches(documents, batch_size)]
    scores: list[float] = yield from _in_batches(flows, memory, lambda count: None)
    # The server orders, too, but only within a batch.
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    return [RankedDocument(index, scores[index], documents[index]) for index in order[:top_n]]


def _checked(name: str, texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise MlxcelError(f"{name}= is one text: pass a list of texts.")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise MlxcelError(f"{name}[{index}] is {type(text).__name__}: pass texts.")
    return list(texts)


def _check_at_least_one(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise MlxcelError(f"{name}={number}: it is at least 1.")


def _filled(texts: Sequence[str], skip_empty: bool) -> list[int]:
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


def _batches(texts: Sequence[str], batch_size: int) -> Iterator[Sequence[str]]:
    """Yield the texts in groups that one request can have."""
    first, tokens = 0, 0
    for index, text in enumerate(texts):
        more = _about_tokens(text)
        full = index - first == batch_size or tokens + more > BATCH_TOKENS
        if index > first and full:
            yield texts[first:index]
            first, tokens = index, 0
        tokens += more
    yield texts[first:]


def _about_tokens(text: str) -> int:
    """Guess, since counting takes a request, and would change little: 3 bytes are about a token."""
    size = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    return size // 3 + 1


def _in_batches(
    flows: Sequence[Flow[list[Any]]], memory: VectorMemory, done: Done
) -> Flow[list[Any]]:
    """Run the flows of batches, as many at once as the server has slots; return all results."""
    if len(flows) == 1:
        (flow,) = flows
        results = yield from flow
        done(len(results))
        return results
    props = yield from _props(memory)
    slots = as_count(props.get("total_slots")) or USUAL_SLOTS
    parts = yield Gather(flows, min(slots, len(flows)), lambda results: done(len(results)))
    return [result for part in parts for result in part]


def _embed_batch(
    texts: Sequence[str], fields: Mapping[str, Any], memory: VectorMemory
) -> Flow[Any]:
    body = {**fields, "input": texts}
    if memory.base64 is not False:
        expected = MISSING_ROUTE if memory.base64 else REFUSED_FORM
        answer = yield Call(EMBEDDINGS, {**body, "encoding_format": "base64"}, expected)
        if not isinstance(answer, Failure):
            memory.base64 = True
            return read_vectors(answer, len(texts))
        _refuse_missing(answer, "embedding")
    answer = yield Call(EMBEDDINGS, body)
    _refuse_missing(answer, "embedding")
    memory.base64 = False
    return read_vectors(answer, len(texts))


def _rank_batch(documents: Sequence[str], fields: Mapping[str, Any]) -> Flow[list[float]]:
    answer = yield Call(RERANK, {**fields, "documents": documents})
    _refuse_missing(answer, "rerank")
    return read_scores(answer, len(documents))


def _fields(
    capability: Capability, memory: VectorMemory, model: str | None, instruction: str | None
) -> Flow[dict[str, Any]]:
    """Return what all requests of a call have in common."""
    fields: dict[str, Any] = {"model": model or (yield from _find(capability, memory))}
    if instruction is not None:
        yield from _refuse_unread_instruction(memory)
        fields["instruction"] = instruction
    return fields


def _find(capability: Capability, memory: VectorMemory) -> Flow[str]:
    """Return the name of the served model that can do something; it is seldom the first one."""
    if capability not in memory.models:
        served = read_models((yield Call("/v1/models", expected=frozenset())))
        name = choose_capable(served, capability, memory.preferred)
        if name is None:
            names = ", ".join(model.id for model in served) or "none"
            raise MlxcelError(
                f"None of the served models can do this (there are: {names}). {_FLAGS[capability]}"
            )
        memory.models[capability] = name
    return memory.models[capability]


def _props(memory: VectorMemory) -> Flow[Mapping[str, Any]]:
    if memory.props is None:
        answer = yield Call("/props", expected=REJECTED)
        memory.props = answer if isinstance(answer, dict) else {}
    return memory.props


def _refuse_unread_instruction(memory: VectorMemory) -> Flow[None]:
    props = yield from _props(memory)
    # llama.cpp ignores what it does not know, and the vectors would be other ones.
    if engine_of({}, props) == "llama.cpp":
        raise MlxcelError(
            "instruction= needs mlxcel, and this server would ignore it: put the instruction in "
            "front of the text, as the model's documentation shows it."
        )


def _refuse_missing(answer: Any, capability: Capability) -> None:
    if isinstance(answer, Failure) and answer.status in MISSING_ROUTE:
        raise MlxcelError(f"{answer.message} {_FLAGS[capability]}")
