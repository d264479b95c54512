"""Questions of LangChain's decision models as conversations and labels, and their answers: pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from langchain_core.decisions import (
    Answer,
    Choice,
    ChoiceAnswer,
    ClassifierResponse,
    Noul,
    NoulAnswer,
    Question,
    Score,
    ScoreAnswer,
    State,
)
from langchain_core.messages import BaseMessage

from ..errors import MlxcelError
from ..protocol.messages import with_text_at_end
from ..structured.attempts import total_usage
from ..structured.decision import Decision, Prior
from .messages import to_openai_messages
from .replies import to_usage

__all__ = ["asked_by_embeddings", "asked_questions", "to_response"]

YES, NO = "yes", "no"


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question as ``LLM.decide`` takes it.

    Attributes:
        messages: The conversation, with the question at its end.
        labels: The labels.
        calibrate: False, or the same question with "N/A" for the state.
    """

    messages: Sequence[Mapping[str, Any]]
    labels: Sequence[str]
    calibrate: Prior


def asked_questions(
    state: State, questions: Mapping[str, Question], *, calibrate: bool
) -> dict[str, AskedQuestion]:
    """Return each question as ``LLM.decide`` takes it.

    The state comes first, so that the server reads it once for all questions.

    Raises:
        MlxcelError: There are no questions, or one asks for coordinates.
    """
    _check_not_empty(questions)
    messages = _messages(state)
    asked = {}
    for name, question in questions.items():
        descriptions = _descriptions(name, question)
        text = _question_text(question, descriptions)
        nothing = [{"role": "user", "content": f"N/A\n\n{text}"}]
        asked[name] = AskedQuestion(
            with_text_at_end(messages, text), list(descriptions), nothing if calibrate else False
        )
    return asked


def asked_by_embeddings(
    state: State, questions: Mapping[str, Question]
) -> tuple[str, dict[str, dict[str, list[str]]]]:
    """Return the text to compare, and the examples of each label of each question.

    For a conversation, the text is that of its last message.

    Raises:
        MlxcelError: There are no questions, or a yes-or-no question has no criteria.
    """
    _check_not_empty(questions)
    content = _messages(state)[-1]["content"]
    if not isinstance(content, str):
        content = "\n".join(part["text"] for part in content if part["type"] == "text")
    return content, {name: _examples(name, one) for name, one in questions.items()}


def _examples(name: str, question: Question) -> dict[str, list[str]]:
    """Return texts that fit each label: its examples, or else its description."""
    descriptions = _descriptions(name, question)
    if isinstance(question, Noul) and None in descriptions.values():
        raise MlxcelError(
            f"questions[{name!r}] has no criteria, which is all that embeddings compare: pass "
            "criteria=NoulCriteria(true=..., false=...)."
        )
    return {label: _texts(description) for label, description in descriptions.items()}


def _texts(description: Any) -> list[str]:
    if isinstance(description, list):
        return [_text(example) for example in description]
    return [_text(description)] if description else []


def to_response(
    questions: Mapping[str, Question], decisions: Mapping[str, Decision], model: str
) -> ClassifierResponse:
    """Return the answers to all questions.

    Args:
        questions: The questions.
        decisions: The decision on each.
        model: Name of the model if the server reported none.
    """
    usage: dict[str, Any] | None = reduce(
        total_usage, (decision.usage for decision in decisions.values()), None
    )
    return ClassifierResponse(
        model=next(iter(decisions.values())).model or model,
        answers={name: _answer(questions[name], made) for name, made in decisions.items()},
        usage=to_usage(usage),
    )


def _check_not_empty(questions: Mapping[str, Question]) -> None:
    if not questions:
        raise MlxcelError("questions is empty: pass at least one question.")


def _messages(state: State) -> Sequence[Mapping[str, Any]]:
    if isinstance(state, str):
        return [{"role": "user", "content": state}]
    found = [state] if isinstance(state, BaseMessage) else state
    if isinstance(found, Sequence) and found:
        messages = [one for one in found if isinstance(one, BaseMessage)]
        if len(messages) == len(found):
            return _ending_with_user(to_openai_messages(messages))
    return [{"role": "user", "content": _text(found)}]


def _ending_with_user(messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return messages that end with a user message, to which the question can be added."""
    if messages[-1]["role"] != "assistant":
        return messages
    return [*messages, {"role": "user", "content": ""}]


def _descriptions(name: str, question: Question) -> dict[str, Any]:
    """Return the labels of a question, each with its description."""
    match question:
        case Noul(criteria=criteria):
            return {YES: criteria and criteria.true, NO: criteria and criteria.false}
        case Choice(criteria=labels):
            return dict(labels)
        case Score(criteria=levels):
            return {str(level): text for level, text in enumerate(levels)}
    raise MlxcelError(
        f"questions[{name!r}] is a {type(question).__name__}: MlxcelDecision answers Noul, Choice "
        "and Score. For coordinates, ask ChatMlxcel with a schema."
    )


def _question_text(question: Question, descriptions: Mapping[str, Any]) -> str:
    lines = [
        f"- {label}: {_text(description)}"
        for label, description in descriptions.items()
        if description is not None
    ]
    return "\n".join([_text(question.instructions), *lines])


def _text(value: Any) -> str:
    """Return a text as it is, and anything else as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=_json_value)


def _json_value(value: Any) -> Any:
    """Return a JSON value for an object that ``json`` cannot write."""
    if isinstance(value, BaseMessage):
        message, *results = to_openai_messages([value])
        return [message, *results] if results else message
    return dict(value) if isinstance(value, Mapping) else list(value)


def _answer(question: Question, decision: Decision) -> Answer:
    shares = decision.probabilities
    if isinstance(question, Noul):
        return NoulAnswer(type="noul", noul=min(shares[YES], 1.0))
    confidence = min(decision.probability, 1.0)
    if isinstance(question, Choice):
        return ChoiceAnswer(
            type="choice", choice=decision.label, probabilities=shares, confidence=confidence
        )
    assert isinstance(question, Score)  # others are refused
    levels = {int(level): share for level, share in shares.items()}
    return ScoreAnswer(
        type="score",
        score=sum(level * share for level, share in levels.items()),
        legend=dict(enumerate(question.criteria)),
        probabilities=levels,
        confidence=confidence,
    )
