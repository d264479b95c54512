"""Discovery of a server: what it reports about its models, its engine and its slots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import MlxcelError
from .failures import Failure
from .validation import as_count, as_object, as_text

__all__ = [
    "DEFAULT_SLOTS",
    "ServedModel",
    "choose_capable",
    "choose_model",
    "engine_of",
    "read_models",
    "reported",
    "same_model",
    "slots_listed",
    "slots_of_owner",
    "slots_to_respect",
]

DEFAULT_SLOTS = 4
"""Requests sent at once to a server that does not report its number of slots."""


class ServedModel(NamedTuple):
    """A model that a server offers.

    Attributes:
        id: Its name.
        capabilities: ``completion``, ``embedding``, ``rerank``; empty if the server names none.
        context_size: Context window of one slot in tokens, None if unknown.
    """

    id: str
    capabilities: tuple[str, ...] = ()
    context_size: int | None = None

    @property
    def generates(self) -> bool:
        """Whether it can answer chats, as far as is known."""
        return not self.capabilities or "completion" in self.capabilities


def read_models(answer: Any) -> tuple[ServedModel, ...]:
    """Read the answer of ``/v1/models``.

    Raises:
        MlxcelError: It is not a list of models.
    """
    try:
        return tuple(_read_model(entry) for entry in answer["data"])
    except (TypeError, KeyError, AttributeError):
        raise MlxcelError(
            "The server's /v1/models did not return a list of models. Check that the address is "
            "that of an mlxcel server."
        ) from None


def _read_model(entry: Mapping[str, Any]) -> ServedModel:
    name, can, meta = entry["id"], entry.get("capabilities"), as_object(entry.get("meta"))
    if not isinstance(name, str):
        raise TypeError
    return ServedModel(
        id=name,
        capabilities=tuple(filter(as_text, can)) if isinstance(can, list) else (),
        # 0 stands for the trained window.
        context_size=as_count(meta.get("n_ctx")) or as_count(meta.get("n_ctx_train")),
    )


def choose_model(models: Sequence[ServedModel], where: str) -> str:
    """Return the name of the first model that can answer chats.

    Raises:
        MlxcelError: No model can.
    """
    for model in models:
        if model.generates:
            return model.id
    names = ", ".join(model.id for model in models) or "none"
    raise MlxcelError(
        f"{where} serves no chat model (it serves: {names}). Start it with one, or choose one with "
        "served_model=."
    )


def choose_capable(
    models: Sequence[ServedModel], capability: str, preferred: str | None = None
) -> str | None:
    """Return the name of a model with a capability, None if there is none.

    Args:
        models: The served models; one without known capabilities may have any.
        capability: ``embedding`` or ``rerank``.
        preferred: The model to choose if it has the capability.
    """
    able = [model.id for model in models if capability in model.capabilities]
    able = able or [model.id for model in models if not model.capabilities]
    return preferred if preferred in able else next(iter(able), None)


def same_model(first: str, second: str) -> bool:
    """Return whether two names may stand for one model: some include a folder or a suffix."""
    return _base_name(first) == _base_name(second)


def _base_name(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower().removesuffix(".gguf")


def reported(answer: Any) -> Mapping[str, Any]:
    """Return what a server reports on an optional route; nothing without an answer.

    mlxcel answers 503 with all it knows while it is busy, and with less while it loads.
    """
    if isinstance(answer, Failure):
        answer = answer.body if answer.busy else None
    return as_object(answer)


def slots_to_respect(health: Mapping[str, Any]) -> float | None:
    """Return the slots of a server that breaks off answers if it gets more requests at once.

    None for a server that queues requests, which all but mlxcel up to v0.4.2 do. Infinity if it
    does not say what it is, as behind a gateway that has no such route.
    """
    if "tool_call_parser" not in health:
        return None if health.get("status") == "ok" else math.inf
    return as_count(as_object(health.get("batch")).get("max_batch_size")) or 1


def slots_listed(slots: Any) -> float | None:
    """Return the slots to respect by the answer of ``/slots``."""
    entries = [as_object(entry) for entry in slots] if isinstance(slots, list) else []
    states = [as_text(entry.get("state")) for entry in entries]
    if entries and all(states):
        # Requests that wait are listed like slots.
        return sum(state != "queued" for state in states) or 1
    queues = entries and all("is_processing" in entry for entry in entries)
    return None if queues else math.inf


def slots_of_owner(models: Any) -> float | None:
    """Return the slots to respect by the answer of ``/v1/models``, which contains no number."""
    data = as_object(models).get("data")
    entries = [as_object(entry) for entry in data] if isinstance(data, list) else []
    owners = {as_text(entry.get("owned_by")) for entry in entries}
    return 1 if owners == {"user"} else math.inf


def engine_of(health: Mapping[str, Any], props: Mapping[str, Any]) -> str | None:
    """Return the engine that serves the model, ``mlxcel`` or ``llama.cpp``; None if unknown."""
    # Only mlxcel up to v0.4.2, where /props is off, names its tool parser in /health.
    if "tool_call_parser" in health:
        return "mlxcel"
    build = as_text(props.get("build_info"))
    if build is None:
        return None
    return "mlxcel" if build.startswith("mlxcel") else "llama.cpp"
