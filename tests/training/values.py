"""What is filled into the invented texts: names, places, numbers, and words from lists."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from tests.training.evaluated import NAMES, NUMBERS
from tests.training.words import WORDS

__all__ = ["Values", "fill", "join", "with_capital"]

_SHARED = ("P", "Brand", "beast", "plant")
"""What all sentences of a text have in common: the place, the make, the kind of animal or plant."""


class Values(dict[str, str]):
    """The values of the slots of a sentence and of its questions, drawn when they are first needed.

    The slot ``food3`` is a list of two to four foods; ``food`` is then one of them. ``Food3`` has a
    capital, ``A:job`` an article, and ``P2`` is a second place.
    """

    def __init__(self, rng: random.Random, shared: dict[str, str] | None = None) -> None:
        super().__init__({key: shared[key] for key in _SHARED if shared and key in shared})
        self.rng = rng
        self.lists: dict[str, list[str]] = {}

    def get_slot(self, slot: str) -> str:
        """Return the value of a slot as it stands in the sentence."""
        if slot.startswith("A:"):
            return with_article(self.get_slot(slot[2:]))
        if slot[0].isupper() and slot not in ("P", "P2", "Brand"):
            return with_capital(self.get_slot(slot[0].lower() + slot[1:]))
        if slot.endswith("3"):
            return join(self._list(slot[:-1]))
        if slot in self.lists:
            return self.rng.choice(self.lists[slot])
        while slot not in self:
            drawn = self.draw(slot)
            if drawn not in self.values():
                self[slot] = drawn
        return self[slot]

    def _list(self, kind: str) -> list[str]:
        if kind not in self.lists:
            self.lists[kind] = self.rng.sample(WORDS[kind], self.rng.choice([2, 3, 3, 3, 4]))
        return self.lists[kind]

    def changed(self, slot: str) -> Values:
        """Return the same values with another one for a slot."""
        other = Values(self.rng)
        other.update(self)
        other.lists = {kind: words for kind, words in self.lists.items() if kind != slot}
        taken = [*self.lists.get(slot, ()), self.get(slot)]
        other[slot] = self.draw(slot)
        while other[slot] in taken:
            other[slot] = self.draw(slot)
        return other

    def draw(self, slot: str) -> str:
        """Return a value for a slot that the evaluation does not contain."""
        kind = slot.rstrip("0123456789")
        draw = _DRAWN.get(kind, lambda rng: rng.choice(WORDS[kind]))
        while True:
            value = draw(self.rng)
            if not (value in NAMES or value.split()[0] in NUMBERS):
                return value


def fill(template: str, values: Values) -> str:
    """Return a sentence with its slots filled."""
    text = re.sub(r"\{([\w:]+)\}", lambda slot: values.get_slot(slot[1]), template)
    return re.sub(r"\b([Aa]) (?=[aeiou](?!ni))", r"\1n ", text)


def join(words: list[str]) -> str:
    """Return a list as it stands in a sentence."""
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else words[0]


def with_capital(text: str) -> str:
    return text[0].upper() + text[1:]


def with_article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _number(rng: random.Random) -> str:
    if rng.random() < 0.07:
        return rng.choice(WORDS["numeral"])
    number = rng.randint(7, 99) if rng.random() < 0.6 else rng.randint(100, 990)
    return f"{number}" if rng.random() < 0.93 else f"{number}.{rng.randint(1, 9)}"


def _large_number(rng: random.Random) -> str:
    number = rng.randint(11, 98) * 100 * rng.choice([1, 1, 1, 5])
    return f"{number:,}" if rng.random() < 0.7 else f"{number}"


def _hour(rng: random.Random) -> str:
    if rng.random() < 0.6:
        return f"{rng.randint(5, 23)}:{rng.choice(['00', '05', '15', '20', '40', '45', '55'])}"
    return f"{rng.choice([5, 7, 8, 11])} in the {rng.choice(['morning', 'evening'])}"


_DRAWN: dict[str, Callable[[random.Random], str]] = {
    "P": lambda rng: rng.choice(WORDS["beginning"]) + rng.choice(WORDS["ending"]),
    "n": _number,
    "big": _large_number,
    "year": lambda rng: str(rng.randint(1620, 2025)),
    "hour": _hour,
    "date": lambda rng: f"{rng.randint(5, 29)} {rng.choice(WORDS['month'])}",
    "full": lambda rng: f"{rng.choice(WORDS['first'])} {rng.choice(WORDS['last'])}",
    "ver": lambda rng: f"{rng.randint(5, 9)}.{rng.randint(5, 20)}",
    "port": lambda rng: str(rng.randint(1500, 9900)),
}
