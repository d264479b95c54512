"""``MlxcelDecision``: decisions for LangChain."""

from __future__ import annotations

from typing import Any, Self

from langchain_core.runnables import RunnableConfig
from pydantic import Field, model_validator

try:
    from langchain_core.decisions import (
        BaseDecisionModel,
        ClassifierRequest,
        ClassifierResponse,
        Question,
        State,
    )
except ImportError as error:
    raise ImportError(
        "MlxcelDecision needs langchain-core 1.8 or newer: pip install -U langchain-core. "
        "LLM.decide works without it."
    ) from error

from ..adapters.model import ModelAdapter
from ..structured.nearest_label import check_route
from .base import Batches
from .content_blocks import PROVIDER
from .error_translation import langchain_errors
from .questions import asked_by_embeddings, asked_questions, to_response

__all__ = ["MlxcelDecision"]


class MlxcelDecision(
    Batches[ClassifierRequest, ClassifierResponse],
    ModelAdapter,
    BaseDecisionModel,
    defer_build=False,
):
    """Answers questions with probabilities: yes or no, one of several labels, a level on a scale.

    Starts a server for ``model`` on first use, or talks to the one at ``base_url`` or ``socket``,
    which must send log probabilities. Each question takes a request, or a few if labels begin
    alike; see ``LLM.decide``. The confidence of an answer is the probability of its most likely
    label. With ``by_embeddings``, the state is compared with the description of each label, or with
    examples given in its place; see ``LLM.classify``. Needs langchain-core 1.8.

    Examples:
        >>> from langchain_core.decisions import Choice
        >>> from mlxcel_integrations.langchain import MlxcelDecision
        >>> team = Choice(
        ...     instructions="Which team should handle this request?",
        ...     criteria={"billing": "Payments and invoices.", "technical": "Bugs."},
        ... )
        >>> with MlxcelDecision(model="embedded") as model:
        ...     response = model.invoke(
        ...         {"state": "My card was charged twice.", "questions": {"team": team}}
        ...     )
        >>> response.choices["team"].choice
        'billing'
    """

    model: str | None = None  # type: ignore[assignment]  # a running server needs no name
    calibrate: bool = Field(
        default=False,
        description="Whether to divide by how likely each label is for a text that says nothing.",
    )
    by_embeddings: bool = Field(
        default=False,
        description="Whether to take the label whose description or examples are nearest to the "
        "state, by their embeddings.",
    )

    @property
    def _provider(self) -> str:
        return PROVIDER

    @model_validator(mode="after")
    def _check_route(self) -> Self:
        check_route(self.by_embeddings, self.calibrate)
        return self

    def _classify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        with langchain_errors:
            if self.by_embeddings:
                text, labels = asked_by_embeddings(state, questions)
                decisions = {name: self._llm.classify(text, labels[name]) for name in labels}
            else:
                asked = asked_questions(state, questions, calibrate=self.calibrate)
                decisions = {
                    name: self._llm.decide(one.messages, one.labels, calibrate=one.calibrate)
                    for name, one in asked.items()
                }
            return to_response(questions, decisions, self._name)

    async def _aclassify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        with langchain_errors:
            llm, decisions = self._async_llm, {}
            if self.by_embeddings:
                text, labels = asked_by_embeddings(state, questions)
                decisions = {name: await llm.classify(text, labels[name]) for name in labels}
            else:
                asked = asked_questions(state, questions, calibrate=self.calibrate)
                decisions = {
                    name: await llm.decide(one.messages, one.labels, calibrate=one.calibrate)
                    for name, one in asked.items()
                }
            return to_response(questions, decisions, self._name)

    @property
    def _name(self) -> str:
        return self._connection.model_to_send or repr(self._connection)

    def _traced_config(self, config: RunnableConfig | None) -> Any:
        traced = super()._traced_config(config)
        traced["metadata"]["ls_model_name"] = self._name
        return traced
