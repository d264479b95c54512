"""Attempts at a structured answer: if it does not fit, the model is told why and asked again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import MlxcelError, StructuredOutputError, StructuredOutputTruncated
from ..protocol.arguments import shown, whole
from ..protocol.schemas.schema_use import Correction

if TYPE_CHECKING:
    from ..protocol.answers.reply import ChatReply

__all__ = ["MAX_ATTEMPTS", "Attempts", "correction", "total_usage"]

MAX_ATTEMPTS = 2
"""Attempts unless the caller says otherwise."""

MAX_QUOTED_CHARACTERS = 1000
"""Longest answer that is shown to the model again, in characters."""


class Attempts:
    """Attempts at one answer, and the context of each of them.

    An answer that does not fit ends the context without an error if there is another attempt::

        while True:
            with attempts:
                return read(ask(**attempts.fields))

    Args:
        most: How many attempts to make.

    Attributes:
        fields: Fields of the next request, which tell the model what was wrong.
        number: Number of the attempt, from 1.

    Raises:
        MlxcelError: ``most`` is not a whole number of at least 1.
    """

    def __init__(self, most: int | None) -> None:
        count = whole(MAX_ATTEMPTS if most is None else most)
        if count is None or count < 1:
            raise MlxcelError(f"max_attempts={shown(most)} must be a whole number, 1 or more.")
        self.fields: dict[str, Any] = {}
        self.number = 1
        self._most = count
        self._usage: dict[str, Any] | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not (isinstance(error, StructuredOutputError) and self.continues_after(error)):
            return False
        self.number += 1
        self.fields = {"correction": correction(error)}
        return True

    def continues_after(self, error: BaseException | None) -> bool:
        """Return whether there is another attempt after an error."""
        problem = error.problem if isinstance(error, StructuredOutputError) else None
        return problem is not None and self.number < self._most

    def with_total_usage(self, reply: ChatReply) -> ChatReply:
        """Return a reply whose token counts are those of all attempts together."""
        reply.usage = self._usage = total_usage(self._usage, reply.usage)
        return reply


def correction(error: StructuredOutputError) -> Correction:
    """Return what to tell the model about an answer that did not fit."""
    if isinstance(error, StructuredOutputTruncated):
        text = f"Be brief. Your last answer was refused: {error.problem}."
        return Correction(text, too_long=True)
    quoted = f" ({error.raw.strip()})" if len(error.raw) <= MAX_QUOTED_CHARACTERS else ""
    return Correction(f"Your last answer{quoted} was refused: {error.problem}.")


def total_usage(
    first: Mapping[str, Any] | None, second: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Return the sum of two token counts, those within them included."""
    if not (first and second):
        return dict(first or second or {}) or None
    numbers = [
        {name: value for name, value in each.items() if isinstance(value, int)}
        for each in (first, second)
    ]
    total: dict[str, Any] = dict(Counter(numbers[0]) + Counter(numbers[1]))
    for name, value in {**first, **second}.items():
        if isinstance(value, Mapping):
            total[name] = total_usage(first.get(name), second.get(name))
        else:
            total.setdefault(name, value)
    if "total_tokens" in total:
        # The counts of an answer that was left have no total.
        total["total_tokens"] = total.get("prompt_tokens", 0) + total.get("completion_tokens", 0)
    return total
