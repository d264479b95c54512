"""``MlxcelSelector``: one of several choices for a LlamaIndex router, by its probability."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.schema import QueryBundle
from llama_index.core.tools.types import ToolMetadata

from ..errors import MlxcelError
from ..structured.decision import Decision, Prior
from .llm import Mlxcel

__all__ = ["MlxcelSelector"]


class MlxcelSelector(BaseSelector):
    """Selects one choice for a query: the one that the model finds most likely.

    Unlike LlamaIndex's own selectors, it reads no answer as JSON: it takes the probabilities that
    the server reports; see ``LLM.decide``.

    Args:
        llm: The model.
        calibrate: Whether to divide by how likely each choice is for a query that says nothing.

    Examples:
        >>> from mlxcel_integrations.llama_index import Mlxcel, MlxcelSelector
        >>> choices = ["Invoices and payments of customers", "Rivers and mountains of the world"]
        >>> with Mlxcel(model="embedded") as llm:
        ...     selected = MlxcelSelector(llm).select(choices, "Which river is the longest?")
        >>> len(selected.selections)
        1
    """

    def __init__(self, llm: Mlxcel, *, calibrate: bool = False) -> None:
        self._model = llm
        self._calibrate = calibrate

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        pass

    def _select(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        labels = _labels(choices)
        text = _question(choices, labels, query.query_str)
        prior = self._prior(choices, labels)
        return _result(labels, self._model._llm.decide(text, labels, calibrate=prior))

    async def _aselect(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        labels = _labels(choices)
        text = _question(choices, labels, query.query_str)
        prior = self._prior(choices, labels)
        return _result(labels, await self._model._async_llm.decide(text, labels, calibrate=prior))

    def _prior(self, choices: Sequence[ToolMetadata], labels: Sequence[str]) -> Prior:
        return _question(choices, labels, "N/A") if self._calibrate else False


def _labels(choices: Sequence[ToolMetadata]) -> list[str]:
    """Return the names of the choices if each has one of its own, else their numbers."""
    if not choices:
        raise MlxcelError("There are no choices to select from.")
    names = [choice.name for choice in choices if choice.name]
    if len(set(names)) == len(choices):
        return names
    return [str(number) for number in range(1, len(choices) + 1)]


def _question(choices: Sequence[ToolMetadata], labels: Sequence[str], query: str) -> str:
    """Return the prompt, whose beginning is the same for all queries, so that servers reuse it."""
    listed = [
        f"- {label}: {choice.description}" for label, choice in zip(labels, choices, strict=True)
    ]
    return "\n".join(
        ["Choices:", *listed, "", f"Question: {query}", "Which choice fits the question best?"]
    )


def _result(labels: Sequence[str], decision: Decision) -> SelectorResult:
    reason = f"probability {decision.probability:.2f}"
    return SelectorResult(
        selections=[SingleSelection(index=labels.index(decision.label), reason=reason)]
    )
