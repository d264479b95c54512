"""Attempts at a structured answer: how many, what the next request says, and the token counts."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations import MlxcelError, StructuredOutputError, StructuredOutputTruncated
from mlxcel_integrations.protocol.answers.reply import ChatReply
from mlxcel_integrations.protocol.schemas.schema_use import Correction
from mlxcel_integrations.structured.attempts import Attempts, total_usage

MISFIT = StructuredOutputError("?", raw='{"a": 1}', problem="it does not fit at /a")
CUT = StructuredOutputTruncated("?", raw='{"a": "1', problem="it was too long")
NOT_JSON = StructuredOutputError("?", raw="Sure!")


def made(most: int | None, errors: list[Exception]) -> list[dict[str, Any]]:
    """Return the fields of the attempts until one fits, or an error is raised."""
    attempts, fields = Attempts(most), []
    outcomes = iter([*errors, None])
    while True:
        with attempts:
            fields.append(attempts.fields)
            if error := next(outcomes):
                raise error
            return fields


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            MISFIT,
            Correction('Your last answer ({"a": 1}) was refused: it does not fit at /a.'),
        ),
        (
            CUT,
            Correction("Be brief. Your last answer was refused: it was too long.", too_long=True),
        ),
    ],
    ids=["misfit", "cut"],
)
@pytest.mark.parametrize("most", [None, 2])
def test_the_model_is_told_what_was_wrong(
    most: int | None, error: Exception, expected: Correction
) -> None:
    assert [{}, {"correction": expected}] == made(most, [error])


def test_a_long_answer_is_not_repeated_to_the_model() -> None:
    error = StructuredOutputError("?", raw="x" * 2000, problem="it does not fit at /a")

    assert "Your last answer was refused: it does not fit at /a." == (
        made(2, [error])[1]["correction"].text
    )


@pytest.mark.parametrize(
    ("most", "errors"),
    [
        (1, [MISFIT]),
        (2, [MISFIT, CUT]),
        (3, [CUT, MISFIT, CUT]),
        (2, [NOT_JSON]),
        (2, [KeyError("of a validator")]),
    ],
    ids=["one", "two", "three", "asking again would not help", "another error"],
)
def test_the_error_of_the_last_attempt_is_raised(most: int, errors: list[Exception]) -> None:
    with pytest.raises(type(errors[-1])) as caught:
        made(most, errors)
    assert errors[-1] is caught.value


@pytest.mark.parametrize("most", [0, -1, 1.5, "2"])
def test_there_is_at_least_one_attempt(most: Any) -> None:
    with pytest.raises(MlxcelError, match=r"max_attempts=.* whole number, 1 or more"):
        Attempts(most)


FIRST = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
CACHED = {"prompt_tokens_details": {"cached_tokens": 7}}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (None, None, None),
        (FIRST, None, FIRST),
        (None, FIRST, FIRST),
        (
            FIRST,
            FIRST | CACHED,
            {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30} | CACHED,
        ),
        (FIRST | CACHED, FIRST | CACHED, {"prompt_tokens_details": {"cached_tokens": 14}}),
        (
            {"completion_tokens": 3},
            FIRST,
            {"prompt_tokens": 10, "completion_tokens": 8, "total_tokens": 18},
        ),
        ({"completion_tokens": 0}, {"completion_tokens": 0}, {"completion_tokens": 0}),
    ],
)
def test_token_counts_add_up(first: Any, second: Any, expected: Any) -> None:
    total = total_usage(first, second)

    assert expected == total or expected.items() <= (total or {}).items()


def test_a_reply_has_the_counts_of_all_attempts() -> None:
    attempts = Attempts(2)

    replies = [attempts.with_total_usage(ChatReply(usage=usage)) for usage in (FIRST, None, FIRST)]

    assert [15, 15, 30] == [(reply.usage or {})["total_tokens"] for reply in replies]
