"""Models that embed or rank: the choice of one, and batches of texts.

Shared by ``/v1/embeddings`` and ``/v1/rerank``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from ...errors import MlxcelError
from ..arguments import as_whole
from ..discovery import DEFAULT_SLOTS, ServedModel, choose_capable, engine_of, read_models
from ..failures import Failure
from ..flow import MISSING_ROUTE_STATUSES, REJECTED_STATUSES, Call, Flow, Gather
from ..tokens.tokenize import TokenMemory, Uncounted
from ..validation import as_count

__all__ = [
    "BATCH_SIZE",
    "BUILT_IN_EMBEDDER",
    "Done",
    "VectorMemory",
    "batches",
    "by_index",
    "check_positive",
    "common_fields",
    "in_batches",
    "refuse_missing_route",
    "served_models",
    "unusable",
]

BUILT_IN_EMBEDDER = "embedded/all-MiniLM-L6-v2"
"""Name of the small built-in model that embeds."""

BATCH_SIZE = 64
"""Texts in one request, by default."""

BATCH_TOKENS = 16_384
"""Approximate tokens in one request: a slow machine answers it well within the usual timeout."""

_HOW_TO_SERVE = {
    "embedding": "Embeddings need an embedding model: pass embedding_model= to the object that "
    "starts the server (--embedding-model on the command line of mlxcel after 0.4.2), start "
    'llama-server with --embeddings, or use model="embedded" for the embeddings alone.',
    "rerank": "Reranking needs a reranking model, and the embedded engine has none: start a server "
    "with reranker_model= (mlxcel after 0.4.2, --reranker-model on its command line), or "
    "llama-server with --reranking.",
}

Capability = Literal["embedding", "rerank"]
Done = Callable[[int], object]
Text = TypeVar("Text", bound=str | list[int])
"""A text, or the ids of its tokens."""


class VectorMemory:
    """What is known about embeddings and reranking on one server.

    Args:
        preferred: The model to ask where several have the capability.
        tokens: What is known about counting tokens.

    Attributes:
        models: The model for each capability.
        base64: Whether the server sends vectors as bytes on request, None if not tried yet.
        props: The answer of ``/props``, None if not asked yet.
        served: The served models, None if not asked yet.
        limits: The most tokens of a text by model, as earlier refusals have told.
        counts_exactly: Whether the server counts with the tokenizer of the model that embeds.
        examples: Vectors of the examples of earlier classifications, by their text.
    """

    def __init__(self, preferred: str | None = None, tokens: TokenMemory | None = None) -> None:
        self.preferred = preferred
        self.tokens = tokens or TokenMemory(Uncounted())
        self.forget()

    def forget(self) -> None:
        """Forget everything: another server answers now."""
        self.models: dict[Capability, str] = {}
        self.base64: bool | None = None
        self.props: Mapping[str, Any] | None = None
        self.served: tuple[ServedModel, ...] | None = None
        self.limits: dict[str, int] = {}
        self.counts_exactly = False
        self.examples: dict[str, Sequence[float]] = {}


# --------------------------------------------------------------------------- arguments


def check_positive(**numbers: int | None) -> None:
    """Check that numbers are positive; None passes.

    Raises:
        MlxcelError: One is not a number, or not positive.
    """
    for name, number in numbers.items():
        if number is not None:
            as_whole(name, number, least=1)


# --------------------------------------------------------------------------- the model


def common_fields(
    capability: Capability, memory: VectorMemory, model: str | None, instruction: str | None
) -> Flow[dict[str, Any]]:
    """Return the fields that all requests of a call have in common.

    Raises:
        MlxcelError: No served model has the capability, or the server ignores instructions.
    """
    fields: dict[str, Any] = {"model": model or (yield from _find_model(capability, memory))}
    if instruction is not None:
        yield from _refuse_ignored_instruction(memory)
        fields["instruction"] = instruction
    return fields


def _find_model(capability: Capability, memory: VectorMemory) -> Flow[str]:
    """Return the name of the served model with a capability, which is rarely the first model."""
    if capability not in memory.models:
        memory.served = None
        served = yield from served_models(memory)
        name = choose_capable(served, capability, memory.preferred)
        if name is None:
            names = ", ".join(model.id for model in served) or "none"
            raise MlxcelError(
                f"None of the served models can do this (served: {names}). "
                f"{_HOW_TO_SERVE[capability]}"
            )
        memory.models[capability] = name
    return memory.models[capability]


def served_models(memory: VectorMemory) -> Flow[tuple[ServedModel, ...]]:
    """Return the models that the server offers; the server is asked once."""
    if memory.served is None:
        memory.served = read_models((yield Call("/v1/models", expected=frozenset())))
    return memory.served


def _refuse_ignored_instruction(memory: VectorMemory) -> Flow[None]:
    props = yield from _props(memory)
    # llama.cpp ignores unknown fields, and would silently return other vectors.
    if engine_of({}, props) == "llama.cpp":
        raise MlxcelError(
            "instruction= needs mlxcel, and this server would ignore it: put the instruction in "
            "front of the text, as the model's documentation shows it."
        )


def _props(memory: VectorMemory) -> Flow[Mapping[str, Any]]:
    if memory.props is None:
        answer = yield Call("/props", expected=REJECTED_STATUSES)
        memory.props = answer if isinstance(answer, dict) else {}
    return memory.props


# --------------------------------------------------------------------------- batches


def batches(texts: Sequence[Text], batch_size: int) -> Iterator[Sequence[Text]]:
    """Yield the texts in groups that fit into one request."""
    first, tokens = 0, 0
    for index, text in enumerate(texts):
        more = _estimated_tokens(text)
        full = index - first == batch_size or tokens + more > BATCH_TOKENS
        if index > first and full:
            yield texts[first:index]
            first, tokens = index, 0
        tokens += more
    yield texts[first:]


def _estimated_tokens(text: str | list[int]) -> int:
    """Estimate tokens at 3 bytes each: counting them takes a request, and would change little."""
    if not isinstance(text, str):
        return len(text)
    size = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    return size // 3 + 1


def in_batches(
    flows: Sequence[Flow[list[Any]]], memory: VectorMemory, done: Done
) -> Flow[list[Any]]:
    """Run the flows of batches, as many at once as the server has slots; return all results.

    Args:
        flows: One flow for each batch.
        memory: What is known about the server.
        done: Called with the number of results of each batch.
    """
    if len(flows) == 1:
        (flow,) = flows
        results = yield from flow
        done(len(results))
        return results
    props = yield from _props(memory)
    slots = as_count(props.get("total_slots")) or DEFAULT_SLOTS
    parts = yield Gather(flows, min(slots, len(flows)), lambda results: done(len(results)))
    return [result for part in parts for result in part]


# --------------------------------------------------------------------------- answers


def refuse_missing_route(answer: Any, capability: Capability) -> None:
    """Check that the server has a route for a capability.

    Raises:
        MlxcelError: It does not; the message names the option to start it with.
    """
    if isinstance(answer, Failure) and answer.status in MISSING_ROUTE_STATUSES:
        raise MlxcelError(f"{answer.bare_message or answer.message} {_HOW_TO_SERVE[capability]}")


def by_index(entries: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """Return the entries in the order of their ``index``.

    Raises:
        ValueError: There is not exactly one for each index.
    """
    ordered = sorted(entries, key=lambda entry: entry["index"])
    if [entry["index"] for entry in ordered] != list(range(count)):
        raise ValueError
    return ordered


def unusable(route: str, expected: str) -> MlxcelError:
    """Return the error for an answer that does not hold one result for each text."""
    return MlxcelError(
        f"The server's {route} did not return {expected}, one for each text. Check that the "
        "address is that of an mlxcel server, and that the model makes one vector for a text."
    )
