"""Decisions by embeddings: the label whose examples are nearest to a text."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence

from ..errors import MlxcelError
from ..protocol.arguments import as_strings, check_text, shown
from .decision import Decision, checked_labels

__all__ = ["ByEmbeddings", "Labels", "check_route"]

SHARPNESS = 20.0
"""Factor on similarities, which lie close together: how much more likely a nearer label is."""

Labels = Iterable[str] | Mapping[str, Iterable[str]]
"""Labels, or texts that fit each of them."""


class ByEmbeddings:
    """A decision by embeddings, in progress.

    Args:
        text: The text to judge.
        labels: The labels, or each with texts that it fits.

    Attributes:
        text: The text.
        examples: The texts of all labels; a label without texts stands for itself.

    Raises:
        MlxcelError: There are no labels, too many, or the same twice; or something is not a text.
    """

    def __init__(self, text: str, labels: Labels) -> None:
        check_text("text", text)
        if not text.strip():
            raise MlxcelError("text= is empty: there is nothing to compare.")
        self.text = text
        given = labels if isinstance(labels, Mapping) else {}
        self._labels = checked_labels(list(labels) if labels is given else labels)
        self._counts = []
        self.examples: list[str] = []
        for label in self._labels:
            texts = as_strings(f"labels[{shown(label)}]", given.get(label, [])) or [label]
            self.examples += texts
            self._counts.append(len(texts))

    def decision(
        self, text: Sequence[float], examples: Sequence[Sequence[float]], model: str | None = None
    ) -> Decision:
        """Return the decision.

        Args:
            text: Vector of the text.
            examples: Vectors of the examples, in their order.
            model: Name of the model that made them.
        """
        similarities = iter([_cosine(text, example) for example in examples])
        nearness = [sum(next(similarities) for _ in range(count)) / count for count in self._counts]
        nearest = max(nearness)
        weights = [math.exp(SHARPNESS * (one - nearest)) for one in nearness]
        total = math.fsum(weights)
        shares = (weight / total for weight in weights)
        probabilities = dict(zip(self._labels, shares, strict=True))
        label = max(probabilities, key=probabilities.__getitem__)
        return Decision(label, probabilities, estimated=1.0, model=model)


def check_route(by_embeddings: bool, calibrate: bool) -> None:
    """Check that two ways to decide are not asked for at once.

    Raises:
        MlxcelError: They are.
    """
    if by_embeddings and calibrate:
        raise MlxcelError(
            "calibrate=True is for log probabilities, and by_embeddings=True uses none: leave "
            "one of them out."
        )


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    lengths = math.hypot(*one) * math.hypot(*other)
    return math.fsum(map(operator.mul, one, other)) / lengths if lengths else 0.0
