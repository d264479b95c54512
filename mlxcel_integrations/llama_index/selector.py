"""``MlxcelSelector``: the most likely of several choices, for a LlamaIndex router."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.schema import QueryBundle
from llama_index.core.tools.types import ToolMetadata

from ..errors import MlxcelError
from ..structured.decision import Decision, Prior
from ..structured.nearest_label import check_route
from .llm import Mlxcel

__all__ = ["MlxcelSelector"]


class MlxcelSelector(BaseSelector):
    """Selects one choice for a query: the one that the model finds most likely.

    Unlike LlamaIndex's own selectors, it reads no answer as JSON: it takes the probabilities that
    the server reports; see ``LLM.decide``.

    Args:
        llm: The model.
        calibrate: Whether to divide by how likely each choice is for a query that says nothing.
        by_embeddings: Whether to take the choice whose description is nearest to the query, by
            their embeddings; see ``LLM.classify``.

    Examples:
        >>> from mlxcel_integrations.llama_index import Mlxcel, MlxcelSelector
        >>> choices = ["Invoices and payments of customers", "Rivers and mountains of the world"]
        >>> with Mlxcel(model="embedded") as llm:
        ...     selected = MlxcelSelector(llm).select(choices, "Which river is the longest?")
        >>> len(selected.selections)
        1
    """

    def __init__(
        self, llm: Mlxcel, *, calibrate: bool = False, by_embeddings: bool = False
    ) -> None:
        check_route(by_embeddings, calibrate)
        self._model = llm
        self._calibrate = calibrate
        self._by_embeddings = by_embeddings

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        pass

    def _select(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        labels, text = _labels(choices), query.query_str
        llm = self._model._llm
        if self._by_embeddings:
            return _result(labels, llm.classify(text, _examples(choices, labels)))
        asked, prior = _question(choices, labels, text), self._prior(choices, labels)
        return _result(labels, llm.decide(asked, labels, calibrate=prior))

    async def _aselect(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        labels, text = _labels(choices), query.query_str
        llm = self._model._async_llm
        if self._by_embeddings:
            return _result(labels, await llm.classify(text, _examples(choices, labels)))
        asked, prior = _question(choices, labels, text), self._prior(choices, labels)
        return _result(labels, await llm.decide(asked, labels, calibrate=prior))

    def _prior(self, choices: Sequence[ToolMetadata], labels: Sequence[str]) -> Prior:
        return _question(choices, labels, "N/A") if self._calibrate else False


def _labels(choices: Sequence[ToolMetadata]) -> list[str]:
    """Return the names of the choices if all are different, else their numbers."""
    if not choices:
        raise MlxcelError("There are no choices to select from.")
    names = [choice.name for choice in choices if choice.name]
    if len(set(names)) == len(choices):
        return names
    return [str(number) for number in range(1, len(choices) + 1)]


def _examples(choices: Sequence[ToolMetadata], labels: Sequence[str]) -> dict[str, list[str]]:
    return {label: [choice.description] for label, choice in zip(labels, choices, strict=True)}


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
