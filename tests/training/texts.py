"""Invented texts with questions about them.

``facts.txt`` has a topic after each ``#``, and one fact in each line: sentences that tell it, after
``?`` questions and after ``>`` their answer, after ``??`` a question that is answered by yes or no.
``polarity.txt`` has sentences and their opposites, for the topics that are named in front.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from pathlib import Path

from tests.training.values import Values, fill, with_capital

__all__ = ["UNKNOWN", "Asked", "Text", "make_text"]

UNKNOWN = "The text does not say."
_SLOT = re.compile(r"\{([\w:]+)\}")


@dataclass(frozen=True)
class Asked:
    """A question with its answer.

    Attributes:
        kind: ``fact``, ``list``, ``opposite`` or ``changed`` (both are answered by yes or no), or
            ``unknown``.
    """

    kind: str
    question: str
    answer: str


@dataclass
class Text:
    """Sentences and the questions about them."""

    sentences: list[str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.kind == kind]


@dataclass(frozen=True)
class _Fact:
    sentences: list[str]
    questions: list[tuple[list[str], str]]
    claim: str | None


@dataclass(frozen=True)
class _Opposites:
    topics: list[str]
    positive: str
    negative: str
    questions: list[str]


def make_text(rng: random.Random) -> Text:
    """Return a text of four to nine sentences about one topic, and questions about it."""
    topic = rng.choice(list(_TOPICS))
    facts = _TOPICS[topic]
    others = rng.sample(facts[1:], rng.choice([2, 3, 3, 4, 4, 5]))
    if rng.random() < 0.6:
        others.sort(key=facts.index)
    told = [facts[0], *others]
    text, values = Text(), Values(rng)
    values.get_slot("P")
    taken: set[str] = set()
    for fact in told:
        values = _tell(text, fact, values, taken)
    _tell_opposites(text, topic, values)
    _ask_what_is_not_told(text, [fact for fact in facts if fact not in told], values)
    return text


def _tell(text: Text, fact: _Fact, shared: Values, taken: set[str]) -> Values:
    """Add a fact with values that no other fact has, and its questions; return the values."""
    rng = shared.rng
    while True:
        values = Values(rng, shared)
        sentence = fill(rng.choice(fact.sentences), values)
        own = set(values.values()) - set(Values(rng, values).values())
        if own.isdisjoint(taken):
            break
    taken |= own
    text.sentences.append(sentence if "=" in sentence else _sentence(sentence))

    def is_told(template: str) -> bool:
        return all(
            values.get_slot(slot).lower() in sentence.lower() for slot in _own_slots(template)
        )

    for questions, answer in fact.questions:
        question = rng.choice(questions)
        if is_told(question) and is_told(answer):
            kind = "list" if "3}" in answer else "fact"
            text.asked.append(Asked(kind, fill(question, values), _sentence(fill(answer, values))))
    if fact.claim and is_told(fact.claim):
        if rng.random() < 0.45:
            text.asked.append(Asked("changed", fill(fact.claim, values), "Yes."))
        else:
            slot = rng.choice(_own_slots(fact.claim) or ["P"]).removeprefix("A:")
            text.asked.append(Asked("changed", fill(fact.claim, values.changed(slot)), "No."))
    return values


def _tell_opposites(text: Text, topic: str, values: Values) -> None:
    rng = values.rng
    fitting = [one for one in _OPPOSITES if topic in one.topics]
    for one in rng.sample(fitting, min(len(fitting), rng.choice([1, 1, 2]))):
        positive = rng.random() < 0.45
        sentence = fill(one.positive if positive else one.negative, values)
        text.sentences.insert(rng.randint(1, len(text.sentences)), sentence)
        answer = "Yes." if positive else "No."
        text.asked.append(Asked("opposite", rng.choice(one.questions), answer))


def _ask_what_is_not_told(text: Text, facts: list[_Fact], shared: Values) -> None:
    rng = shared.rng
    values = Values(rng, shared)
    questions = [rng.choice(questions) for fact in facts for questions, _ in fact.questions]
    known = [one for one in questions if set(_SLOT.findall(one)) <= set(values)]
    for question in rng.sample(known, min(len(known), 2)):
        text.asked.append(Asked("unknown", fill(question, values), UNKNOWN))


def _own_slots(template: str) -> list[str]:
    """Return the slots whose values belong to one fact, not to the whole text."""
    return [slot for slot in _SLOT.findall(template) if slot not in ("P", "beast", "plant")]


def _sentence(text: str) -> str:
    return with_capital(text if text.endswith(".") else f"{text}.")


def _read_topics() -> dict[str, list[_Fact]]:
    topics: dict[str, list[_Fact]] = {}
    for line in _lines("facts.txt"):
        if line.startswith("# "):
            facts = topics.setdefault(line[2:], [])
            continue
        sentences, *rest = re.split(r" (\?\??) ", line)
        questions, claim = [], None
        for mark, part in zip(rest[::2], rest[1::2], strict=True):
            if mark == "??":
                claim = part
            else:
                asked, answer = part.split(" > ")
                questions.append((asked.split(" | "), answer))
        facts.append(_Fact(sentences.split(" | "), questions, claim))
    return topics


def _read_opposites() -> list[_Opposites]:
    rows = [line.split(" | ") for line in _lines("polarity.txt")]
    return [
        _Opposites(topics.split(), positive, negative, questions.split(" / "))
        for topics, positive, negative, questions in rows
    ]


def _lines(name: str) -> list[str]:
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


_TOPICS = _read_topics()
_OPPOSITES = _read_opposites()
