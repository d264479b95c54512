"""Decisions: a probability for each of some labels, from the log probabilities of one answer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import MlxcelError, StructuredOutputError
from ..protocol.answers.reply import ChatReply
from ..protocol.arguments import as_strings, shown
from ..protocol.features import MIN_ALTERNATIVES
from ..protocol.messages import Message, Messages, as_list
from ..protocol.sampling import without_thinking
from ..protocol.schemas.schema_use import RELAXABLE
from ..protocol.validation import from_json
from .attempts import total_usage
from .label_groups import LabelGroup, split
from .request import with_text_added

__all__ = ["MAX_LABELS", "Deciding", "Decision", "Prior", "checked_labels"]

MAX_LABELS = 2000
"""Most labels of one decision; more of them take an engine minutes, or its whole context."""

MAX_REQUESTS = 8
"""Most requests for one distribution."""

MIN_GROUP_PROBABILITY = 0.01
"""Least probability of a group of labels that another request is made for, to tell them apart."""

MIN_PRIOR = 1e-6
"""Least prior, so that a label that the model never expects does not win by that alone."""

DECIDED_FIELDS = {
    "bounded",
    "logprobs",
    "max_tokens",
    "reasoning",
    "reasoning_effort",
    "response_format",
    "stop",
    "temperature",
    "thinking_budget_tokens",
    "tool_choice",
    "tools",
    "top_logprobs",
}
"""Fields that a decision sets."""

_SPELLING = json.JSONEncoder(ensure_ascii=False)

Prior = bool | Messages
"""Whether to subtract the prior, or the conversation by which to measure it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A label, and how likely the model found each.

    Attributes:
        label: The most likely label.
        probabilities: The probability of each label, in the order in which they were given; their
            sum is 1.
        usage: Token counts of all its requests, as OpenAI's ``usage``.
        estimated: The part of the probabilities that is an estimate: that of labels which were not
            among the server's alternatives, and of those which together were too unlikely for
            another request, and share their probability evenly; 1 if embeddings decided.
        model: Name of the model that decided.
        requests: How many requests it took.
    """

    label: str
    probabilities: dict[str, float]
    usage: dict[str, Any] | None = None
    estimated: float = 0.0
    model: str | None = None
    requests: int = 1

    @property
    def probability(self) -> float:
        """Probability of the label."""
        return self.probabilities[self.label]


class Deciding:
    """A decision in progress: its requests, each of which depends on the answers before it.

    ::

        for messages, fields in deciding.requests():
            deciding.read(ask(messages, fields))
        return deciding.decision()

    Args:
        messages: The conversation to judge.
        labels: The labels.
        calibrate: See ``LLM.decide``.
        sampling: Sampling fields.

    Attributes:
        alternatives: How many alternatives of a token to ask for.

    Raises:
        MlxcelError: There are no labels, too many, the same twice, or some that are not texts; or
            a field contradicts a decision.
    """

    def __init__(
        self,
        messages: Messages,
        labels: Iterable[str],
        calibrate: Prior,
        sampling: Mapping[str, Any],
    ) -> None:
        self.alternatives = MIN_ALTERNATIVES
        self._labels = checked_labels(labels)
        for name in sorted(DECIDED_FIELDS & sampling.keys()):
            if sampling[name] is not None:
                raise MlxcelError(f"decide sets {name}= itself: leave it out.")
        self._sampling = without_thinking(sampling)
        given = as_list(messages)
        conversations = [given]
        if calibrate is True:
            conversations.append(_neutral_conversation(given))
        elif calibrate is not False:
            conversations.append(as_list(calibrate))
        spelled = list(map(_SPELLING.encode, self._labels))
        by_spelling = sorted(
            (text.encode(errors="surrogatepass"), label)
            for text, label in zip(spelled, self._labels, strict=True)
        )
        self._spellings = [spelling for spelling, _ in by_spelling]
        self._sorted_labels = [label for _, label in by_spelling]
        question = f"Answer with one of these labels, as JSON:\n[{', '.join(spelled)}]"
        self._rounds = [
            _Round(with_text_added(messages, question), self._spellings)
            for messages in conversations
        ]
        self._current_round = self._rounds[0]
        self._usage: dict[str, Any] | None = None
        self._model: str | None = None

    def requests(self) -> Iterator[tuple[Sequence[Message], Mapping[str, Any]]]:
        """Yield the messages and fields of each request; ``read`` comes before the next."""
        for current in self._rounds:
            while current.unfinished:
                self._current_round = current
                yield self._request()

    def _request(self) -> tuple[Sequence[Message], Mapping[str, Any]]:
        current = self._current_round
        asked = current.asked
        labels = self._sorted_labels[asked.start : asked.end]
        schema = {"type": "string", "enum": labels}
        longest = max(map(len, self._spellings[asked.start : asked.end]))
        fields = {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "label", "strict": True, "schema": schema},
            },
            "logprobs": True,
            "top_logprobs": self.alternatives,
            "temperature": 0.0,
            # A token holds one byte at least; engines may put white space around the answer.
            "max_tokens": longest + 16,
        }
        # ``read`` checks the answer.
        use = self._sampling.get("schema_use") or RELAXABLE
        return current.messages, {**self._sampling, **fields, "schema_use": use}

    def read(self, reply: ChatReply) -> None:
        """Read the answer to the last request.

        Raises:
            MlxcelError: It came without log probabilities.
            StructuredOutputError: It is not one of the labels.
        """
        self._usage = total_usage(self._usage, reply.usage)
        self._model = reply.model or self._model
        asked = self._current_round.asked
        answer = from_json(reply.text)
        if answer not in self._sorted_labels[asked.start : asked.end]:
            raise StructuredOutputError(
                f"The answer is not one of the labels: {reply.text!r:.200}.", raw=reply.text
            )
        tokens = (reply.logprobs or {}).get("content")
        groups = split(self._spellings, asked, tokens) if tokens else None
        if groups is None:
            raise MlxcelError(
                "The server sent no log probabilities, which decide needs: use a server that "
                "supports logprobs= and top_logprobs=, or chat(..., schema=Literal[...]), which "
                "returns a label without probabilities."
            )
        self._current_round.read(groups)

    def decision(self) -> Decision:
        """Return the decision, when nothing is left to ask."""
        question, *priors = self._rounds
        found = question.probabilities()
        shares = _without_prior(question, priors[0]) if priors else found
        by_label = dict(zip(self._sorted_labels, shares, strict=True))
        probabilities = {label: by_label[label] for label in self._labels}
        return Decision(
            label=max(probabilities, key=probabilities.__getitem__),
            probabilities=probabilities,
            usage=self._usage,
            estimated=math.fsum(question.estimates()),
            model=self._model,
            requests=sum(one.requests for one in self._rounds),
        )


@dataclass
class _Round:
    """The distribution over the labels for one conversation.

    Attributes:
        messages: The conversation, with the labels at its end.
        spellings: All labels, sorted.
        groups: Groups of labels; at first, all of them are in one.
        done: Groups that no further request splits.
        requests: How many requests were answered.
    """

    messages: Sequence[Message]
    spellings: Sequence[bytes]
    groups: list[LabelGroup] = field(default_factory=list)
    done: list[LabelGroup] = field(default_factory=list)
    requests: int = 0

    def __post_init__(self) -> None:
        self.groups = [LabelGroup(0, len(self.spellings))]

    @property
    def unfinished(self) -> bool:
        """Whether another request would tell more, which the first always does."""
        if not self.requests:
            return True
        return bool(self.groups) and self.requests < MAX_REQUESTS

    @property
    def asked(self) -> LabelGroup:
        """The labels that the next request may choose from: the most likely group."""
        return max(self.groups, key=lambda group: group.probability)

    def read(self, groups: Sequence[LabelGroup]) -> None:
        """Replace the group that was asked about by those into which the answer split it."""
        self.requests += 1
        asked = self.asked
        self.groups.remove(asked)
        for group in groups:
            splits = (
                group.seen
                and 1 < group.size < asked.size
                and group.probability >= MIN_GROUP_PROBABILITY
            )
            (self.groups if splits else self.done).append(group)

    def probabilities(self) -> list[float]:
        """Return the probability of each label, in the order of their spelling."""
        return self._shares([*self.groups, *self.done])

    def estimates(self) -> list[float]:
        """Return the part of each label's probability that is an estimate."""
        groups = [*self.groups, *self.done]
        return self._shares([group for group in groups if group.size > 1 or not group.seen])

    def _shares(self, groups: Iterable[LabelGroup]) -> list[float]:
        shares = [0.0] * len(self.spellings)
        for group in groups:
            share = group.probability / group.size
            for index in range(group.start, group.end):
                shares[index] += share
        return shares


def checked_labels(labels: Iterable[str]) -> list[str]:
    """Return labels as a list.

    Raises:
        MlxcelError: There are none, too many, the same twice, or some that are not texts.
    """
    found = as_strings("labels", labels)
    if not found:
        raise MlxcelError("labels= is empty: there is nothing to decide on.")
    if len(found) > MAX_LABELS:
        raise MlxcelError(
            f"labels= has {len(found):,} labels, but at most {MAX_LABELS:,} are possible: choose "
            "the likely ones first, for example by their embeddings."
        )
    seen = set()
    for label in found:
        if label in seen:
            raise MlxcelError(f"labels= has {shown(label)} twice.")
        seen.add(label)
    if "" in seen:
        raise MlxcelError("labels= has an empty label.")
    return found


def _neutral_conversation(messages: Sequence[Message]) -> list[Message]:
    """Return the instructions of a conversation, with a question that says nothing."""
    kept = [
        message
        for message in messages
        if isinstance(message, Mapping) and message.get("role") in ("system", "developer")
    ]
    return [*kept, {"role": "user", "content": "N/A"}]


def _without_prior(question: _Round, prior: _Round) -> list[float]:
    """Return probabilities divided by their prior, except estimates, which this would inflate."""
    shares, priors = question.probabilities(), prior.probabilities()
    estimated = zip(question.estimates(), prior.estimates(), strict=True)
    ratios = {
        index: share / max(priors[index], MIN_PRIOR)
        for index, (share, (here, there)) in enumerate(zip(shares, estimated, strict=True))
        if 2 * here <= share and 2 * there <= priors[index]
    }
    total = math.fsum(ratios.values())
    known = math.fsum(shares[index] for index in ratios)
    calibrated = {index: known * ratio / total for index, ratio in ratios.items() if total}
    return [calibrated.get(index, share) for index, share in enumerate(shares)]
