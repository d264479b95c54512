"""What is left of the limits of a request, as time goes by."""

from __future__ import annotations

import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.protocol.timeouts import Deadline, Timeouts

READING = Timeouts(timeout=300, token_timeout=5)


def test_without_limits_silence_may_last_ten_minutes() -> None:
    patience = Deadline(Timeouts(), 100)

    assert 600 == patience.wait
    assert not patience.changes(500, progress=False)
    assert not patience.changes(900, progress=True)
    assert (600, ("timeout", 600)) == (patience.wait, patience.reached(1500))


def test_comments_show_that_the_prompt_is_read() -> None:
    patience = Deadline(READING, 0)

    for second in range(15, 900, 15):
        patience.changes(second, progress=False)
    assert (300, ("timeout", 300)) == (patience.wait, patience.reached(1200))


def test_after_the_first_token_comments_are_no_progress() -> None:
    patience = Deadline(READING, 0)

    assert patience.changes(10, progress=True)
    assert 5 == patience.wait
    assert patience.changes(12, progress=False)
    assert 3 == patience.wait
    assert patience.changes(14.5, progress=False)
    assert 0.5 == patience.wait
    with pytest.raises(TimeoutError):
        patience.changes(15, progress=False)
    assert ("token_timeout", 5) == patience.reached(15)


def test_each_token_begins_the_time_anew() -> None:
    patience = Deadline(READING, 0)
    patience.changes(10, progress=True)

    assert [False] * 90 == [patience.changes(n, progress=True) for n in range(10, 100)]
    assert 5 == patience.wait


def test_the_total_ends_an_answer_that_goes_on() -> None:
    patience = Deadline(Timeouts(token_timeout=5, total_timeout=60), 0)

    assert 60 == patience.wait
    patience.changes(50, progress=True)
    assert 5 == patience.wait
    patience.changes(57, progress=True)
    assert 3 == patience.wait
    assert ("token_timeout", 5) == patience.reached(59)
    assert ("total_timeout", 60) == patience.reached(60)
    with pytest.raises(TimeoutError):
        patience.changes(60, progress=True)


@pytest.mark.parametrize(
    ("connect", "silence", "expected"), [(10, None, 10), (10, 3, 3), (2, 300, 2), (10, 0.5, 0.5)]
)
def test_connecting_takes_no_longer_than_an_answer_may(
    connect: float, silence: float | None, expected: float
) -> None:
    assert expected == Timeouts(timeout=silence, connect_timeout=connect).connecting


@pytest.mark.parametrize("name", ["timeout", "connect_timeout", "token_timeout", "total_timeout"])
@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_what_is_no_time_is_refused(name: str, seconds: float) -> None:
    with pytest.raises(MlxcelError, match=f"{name}="):
        Timeouts(**{name: seconds})
