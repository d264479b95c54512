"""When a request is sent again, and when not."""

from __future__ import annotations

import pytest

from mlxcel_integrations.protocol.failures import Failure
from mlxcel_integrations.protocol.retries import Retries

BUSY = Failure("InternalServerError", "busy", 503, retryable=True)


def delays(limit: int, jitter: float, *failures: Failure) -> list[float | None]:
    retries = Retries(limit, lambda: jitter)
    return [retries.delay(failure) for failure in failures]


@pytest.mark.parametrize(
    ("jitter", "expected"),
    [
        (1.0, [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, None]),
        (0.0, [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 4.0, None]),
    ],
)
def test_pauses_double_up_to_a_limit(jitter: float, expected: list[float | None]) -> None:
    assert expected == delays(7, jitter, *[BUSY] * 8)


@pytest.mark.parametrize("limit", [0, -1])
def test_nothing_is_tried_again_where_that_is_not_wanted(limit: int) -> None:
    assert [None] == delays(limit, 1.0, BUSY)


def test_the_attempt_that_comes_is_counted_from_the_first() -> None:
    retries = Retries(2)
    retries.delay(BUSY)
    first = retries.coming
    retries.delay(BUSY)

    assert ("try 2 of 3", "try 3 of 3") == (first, retries.coming)


def test_what_the_server_may_have_begun_is_never_repeated() -> None:
    assert [None] == delays(5, 1.0, Failure("InternalServerError", "boom", 500))


@pytest.mark.parametrize(("asked", "waited"), [(0.0, 0.0), (3.0, 3.0), (1e9, 60.0)])
def test_the_server_may_say_how_long(asked: float, waited: float) -> None:
    told = Failure("RateLimitError", "busy", 429, retryable=True, retry_after=asked)

    assert [waited, 0.5] == delays(2, 1.0, told, BUSY)


def test_a_pause_is_at_least_half_of_what_it_may_be_and_random_by_default() -> None:
    assert [0.1875] == delays(1, 0.5, BUSY)
    assert {True} == {0.125 <= (Retries(1).delay(BUSY) or 0) <= 0.25 for _ in range(20)}
