"""Features of a server, from ``/health``, ``/props`` and ``/v1/models``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .discovery import ServedModel, engine_of, read_models
from .validation import as_count, as_object, as_text

__all__ = ["MIN_ALTERNATIVES", "ServerFeatures", "TrainedContext", "read_features"]

MIN_ALTERNATIVES = 20
"""Alternatives of a token that every server with log probabilities can report; mlxcel's limit."""

MANY_ALTERNATIVES = 200
"""Alternatives of a token that are enough: with a small model, more of them hardly matter."""


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
        context_source: File of the model from which the ``context_size`` is known, None if the
            server reports it.
        thinks: Whether the model thinks before it answers, by its chat template; None if unknown.
        efforts: Whether the template takes a thinking effort, None if unknown.
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
        return MANY_ALTERNATIVES if self.engine == "llama.cpp" else MIN_ALTERNATIVES

    def without_tools(self) -> ServerFeatures:
        """Return these features as of a server whose chat template knows no tools."""
        return dataclasses.replace(self, tools=False)

    def with_only_text(self, only_text: bool) -> ServerFeatures:
        """Return these features with what the model's files show about its inputs."""
        return dataclasses.replace(self, only_text=only_text)

    def with_context(self, trained: TrainedContext | None) -> ServerFeatures:
        """Return these features with the window that the model's files state, if they do."""
        if trained is None:
            return self
        return dataclasses.replace(self, context_size=trained.size, context_source=trained.source)


class TrainedContext(NamedTuple):
    """Context window that a model was made for, by its own files.

    Attributes:
        size: Its size in tokens.
        source: Path of the file that states it.
    """

    size: int
    source: str


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
        tools=_supports_tools(health, props),
        modalities=frozenset(name for name, known in modalities.items() if known),
        model_path=as_text(props.get("model_path")),
        thinks=_thinks(props),
        efforts=_template_ability(props, "supports_reasoning_effort"),
        continues=_continues(props),
        reports_progress=_reports_progress(props),
    )


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


def _supports_tools(health: Mapping[str, Any], props: Mapping[str, Any]) -> bool | None:
    if "tool_call_parser" in health:
        return health["tool_call_parser"] is not None
    return _template_ability(props, "supports_tools")


def _template_ability(props: Mapping[str, Any], name: str) -> bool | None:
    """Return whether the chat template has an ability, None if the server does not tell."""
    known = as_object(props.get("chat_template_caps")).get(name)
    return known if isinstance(known, bool) else None


def _thinks(props: Mapping[str, Any]) -> bool | None:
    """Return whether the chat template is that of a model that thinks, None if it may be."""
    template = as_text(props.get("chat_template")) or ""
    switched = "enable_thinking" in template or "<think>" in template
    abilities = ("supports_reasoning_effort", "supports_preserve_reasoning")
    return True if switched or any(_template_ability(props, name) for name in abilities) else None
