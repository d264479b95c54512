"""Features of a server, from ``/health``, ``/props`` and ``/v1/models``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import MlxcelError
from .failures import Failure
from .validation import as_count, as_object, as_text

__all__ = [
    "DEFAULT_SLOTS",
    "FEWEST_ALTERNATIVES",
    "ServedModel",
    "ServerFeatures",
    "TrainedContext",
    "choose_capable",
    "choose_model",
    "engine_of",
    "read_features",
    "read_models",
    "reported",
    "same_model",
    "slots_to_respect",
]

DEFAULT_SLOTS = 4
"""Requests sent at once to a server that does not report its number of slots."""

FEWEST_ALTERNATIVES = 20
"""Alternatives of a token that every server with log probabilities reports; mlxcel has no more."""

MANY_ALTERNATIVES = 200
"""Alternatives of a token after which those of a small model hardly matter."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that a server offers.

    Attributes:
        id: Its name.
        capabilities: ``completion``, ``embedding``, ``rerank``; empty if the server names none.
        context_size: Context window of one slot in tokens, None if unknown.
        trained_context_size: Window that the model was trained with, in tokens, None if unknown.
    """

    id: str
    capabilities: tuple[str, ...] = ()
    context_size: int | None = None
    trained_context_size: int | None = None

    @property
    def generates(self) -> bool:
        """Whether it can answer chats, as far as is known."""
        return not self.capabilities or "completion" in self.capabilities


@dataclass(frozen=True, slots=True)
class ServerFeatures:
    """Features of a server.

    Attributes:
        engine: ``mlxcel`` or ``llama.cpp``, None if unknown.
        build: Version text of the server, None if unknown.
        models: The served models.
        slots: Number of requests that it handles at once, None if unknown.
        context_size: Window of one slot in tokens, None if unknown.
        tools: Whether the chat template supports tools, None if unknown.
        modalities: Inputs that the model accepts besides text: ``vision``, ``video``, ``audio``.
        model_path: Path of the model on the server's machine, None if unknown.
        only_text: Whether files of the model show that it reads nothing but text; False if they do
            not, or if the server lists the ``modalities`` itself.
        context_source: File of the model that tells the ``context_size``, None if the server does.
        thinks: Whether the model thinks before it answers, by its chat template; None if unknown.
        efforts: Whether the template takes an effort of thinking, None if unknown.
        continues: Whether the server continues an answer that begins with thoughts, as far as is
            known.
        reports_progress: Whether the server is known to report how much of a prompt it has read.
    """

    engine: str | None
    build: str | None
    models: tuple[ServedModel, ...]
    slots: int | None
    context_size: int | None
    tools: bool | None
    modalities: frozenset[str]
    model_path: str | None = None
    context_source: str | None = None
    only_text: bool = False
    thinks: bool | None = None
    efforts: bool | None = None
    continues: bool = False
    reports_progress: bool = False

    @property
    def forgets(self) -> bool:
        """Whether the server truncates prompts that do not fit, instead of refusing them."""
        return self.engine == "mlxcel"

    @property
    def stops(self) -> bool:
        """Whether the server stops at stop texts, as all do but mlxcel up to v0.4.2."""
        return self.engine is not None and self.build is not None

    @property
    def drops_calls(self) -> bool:
        """Whether the server drops calls that it cannot read, as mlxcel up to v0.4.2 does."""
        return self.engine == "mlxcel" and self.build is None

    @property
    def alternatives(self) -> int:
        """How many alternatives of a token to ask for, where each may matter."""
        return MANY_ALTERNATIVES if self.engine == "llama.cpp" else FEWEST_ALTERNATIVES

    def with_context(self, trained: TrainedContext | None) -> ServerFeatures:
        """Return these features with the window that a file of the model tells, if any does."""
        if trained is None:
            return self
        return dataclasses.replace(self, context_size=trained.size, context_source=trained.source)


class TrainedContext(NamedTuple):
    """Context window that a model was made for, by its own files.

    Attributes:
        size: Its size in tokens.
        source: Path of the file that tells it.
    """

    size: int
    source: str


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
    trained = as_count(meta.get("n_ctx_train"))
    return ServedModel(
        id=name,
        capabilities=tuple(filter(as_text, can)) if isinstance(can, list) else (),
        # 0 stands for the trained window.
        context_size=as_count(meta.get("n_ctx")) or trained,
        trained_context_size=trained,
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
        f"{where} serves no model that answers chats (it serves: {names}). Start it with one, or "
        "name one with served_model=."
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
    """Tell whether two names may stand for one model: some have a folder or an ending."""
    return _short(first) == _short(second)


def _short(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower().removesuffix(".gguf")


def read_features(health: Any, props: Any, models: Any) -> ServerFeatures:
    """Combine the answers of several routes.

    Args:
        health: Answer of ``/health``, None without one.
        props: Answer of ``/props``, None where the route is missing (mlxcel up to v0.4.2).
        models: Answer of ``/v1/models``.
    """
    health, props = as_object(health), as_object(props)
    served = read_models(models)
    generating = next((model for model in served if model.generates), None)
    settings = as_object(props.get("default_generation_settings"))
    context = as_count(settings.get("n_ctx")) or as_count(health.get("context_size"))
    slots = as_count(as_object(health.get("batch")).get("max_batch_size"))
    modalities = as_object(props.get("modalities"))
    return ServerFeatures(
        engine=engine_of(health, props),
        build=as_text(props.get("build_info")),
        models=served,
        slots=as_count(props.get("total_slots")) or slots,
        context_size=context or (generating.context_size if generating else None),
        tools=_tools(health, props),
        modalities=frozenset(name for name, known in modalities.items() if known),
        model_path=as_text(props.get("model_path")),
        thinks=_thinks(props),
        efforts=_ability(props, "supports_reasoning_effort"),
        continues=_continues(props),
        reports_progress=_reports_progress(props),
    )


def reported(answer: Any) -> Mapping[str, Any]:
    """Return what a server reports on an optional route; nothing without an answer.

    mlxcel answers 503 with all it knows while it is busy, and with less while it loads.
    """
    if isinstance(answer, Failure):
        answer = answer.body if answer.busy else None
    return as_object(answer)


def slots_to_respect(health: Mapping[str, Any]) -> float | None:
    """Return the slots of a server that breaks off answers if it gets more requests at once.

    None for a server that queues requests: any but mlxcel up to v0.4.2. Infinity if it does not
    tell which it is, as behind a gateway that has no such route.
    """
    if "tool_call_parser" not in health:
        return None if health.get("status") == "ok" else math.inf
    return as_count(as_object(health.get("batch")).get("max_batch_size")) or 1


def engine_of(health: Mapping[str, Any], props: Mapping[str, Any]) -> str | None:
    """Return the engine that serves the model, ``mlxcel`` or ``llama.cpp``; None if unknown."""
    # Only mlxcel up to v0.4.2, where /props is off, names its tool parser in /health.
    if "tool_call_parser" in health:
        return "mlxcel"
    build = as_text(props.get("build_info"))
    if build is None:
        return None
    return "mlxcel" if build.startswith("mlxcel") else "llama.cpp"


def _continues(props: Mapping[str, Any]) -> bool:
    """Return whether the server continues an answer that begins with thoughts.

    mlxcel after v0.4.2, which has this route, continues answers; the template decides whether it
    shows the thoughts of one. llama.cpp would go on thinking.
    """
    template = as_text(props.get("chat_template")) or ""
    return engine_of({}, props) == "mlxcel" and "reasoning_content" in template


def _reports_progress(props: Mapping[str, Any]) -> bool:
    """Return whether the server is known to report how much of a prompt it has read.

    llama.cpp does since September 2025. Packaged builds have no number, but those that tell whether
    they sleep are newer than that. mlxcel does not.
    """
    return engine_of({}, props) == "llama.cpp" and "is_sleeping" in props


def _tools(health: Mapping[str, Any], props: Mapping[str, Any]) -> bool | None:
    if "tool_call_parser" in health:
        return health["tool_call_parser"] is not None
    return _ability(props, "supports_tools")


def _ability(props: Mapping[str, Any], name: str) -> bool | None:
    """Return whether the chat template has an ability, None if the server does not tell."""
    known = as_object(props.get("chat_template_caps")).get(name)
    return known if isinstance(known, bool) else None


def _thinks(props: Mapping[str, Any]) -> bool | None:
    """Return whether the chat template is that of a model that thinks, None if it may be."""
    template = as_text(props.get("chat_template")) or ""
    switched = "enable_thinking" in template or "<think>" in template
    abilities = ("supports_reasoning_effort", "supports_preserve_reasoning")
    return True if switched or any(_ability(props, name) for name in abilities) else None
