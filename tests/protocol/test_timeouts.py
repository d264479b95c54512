"""What is left of the limits of a request, as time goes by."""

from __future__ import annotations

import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.protocol.timeouts import Deadline, Timeouts

READING = Timeouts(timeout=300, token_timeout=5)


def test_without_limits_silence_may_last_ten_minutes() -> None:
    deadline = Deadline(Timeouts(), 100)

    assert 600 == deadline.timeout
    deadline.renew(500, progress=False)
    deadline.renew(900, progress=True)
    assert (600, ("timeout", 600)) == (deadline.timeout, deadline.exceeded(1500))


def test_comments_show_that_the_prompt_is_read() -> None:
    deadline = Deadline(READING, 0)

    for second in range(15, 900, 15):
        deadline.renew(second, progress=False)
    assert (300, ("timeout", 300)) == (deadline.timeout, deadline.exceeded(1200))


def test_after_the_first_token_comments_are_no_progress() -> None:
    deadline = Deadline(READING, 0)

    deadline.renew(10, progress=True)
    assert 5 == deadline.timeout
    deadline.renew(12, progress=False)
    assert 3 == deadline.timeout
    deadline.renew(14.5, progress=False)
    assert 0.5 == deadline.timeout
    with pytest.raises(TimeoutError):
        deadline.renew(15, progress=False)
    assert ("token_timeout", 5) == deadline.exceeded(15)


def test_each_token_begins_the_time_anew() -> None:
    deadline = Deadline(READING, 0)
    deadline.renew(10, progress=True)

    for second in range(10, 100):
        deadline.renew(second, progress=True)
        assert 5 == deadline.timeout


def test_the_total_ends_an_answer_that_goes_on() -> None:
    assert 60 == Deadline(Timeouts(total_timeout=60), 100).timeout
    deadline = Deadline(Timeouts(token_timeout=5, total_timeout=60), 0)

    assert 60 == deadline.timeout
    deadline.renew(50, progress=True)
    assert 5 == deadline.timeout
    deadline.renew(57, progress=True)
    assert 3 == deadline.timeout
    assert ("token_timeout", 5) == deadline.exceeded(59)
    assert ("total_timeout", 60) == deadline.exceeded(60)
    with pytest.raises(TimeoutError):
        deadline.renew(60, progress=True)


def test_limits_that_are_not_given_are_the_usual_ones() -> None:
    given = Timeouts.of(timeout=3, connect_timeout=None, total_timeout=4)

    assert Timeouts(timeout=3.0, total_timeout=4.0) == given


@pytest.mark.parametrize(
    ("connect", "read", "expected"), [(10, None, 10), (10, 3, 3), (2, 300, 2), (10, 0.5, 0.5)]
)
def test_connecting_takes_no_longer_than_an_answer_may(
    connect: float, read: float | None, expected: float
) -> None:
    assert expected == Timeouts(timeout=read, connect_timeout=connect).connect


@pytest.mark.parametrize("name", ["timeout", "connect_timeout", "token_timeout", "total_timeout"])
@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_what_is_no_time_is_refused(name: str, seconds: float) -> None:
    with pytest.raises(MlxcelError, match=f"{name}="):
        Timeouts.of(**{name: seconds})


def test_progress_of_the_prompt_that_does_not_move_is_no_sign_of_life() -> None:
    deadline = Deadline(READING, 0)
    deadline.renew(100, progress=False)

    deadline.stands_still = True
    deadline.renew(200, progress=False)
    assert 200 == deadline.timeout
    deadline.stands_still = False
    deadline.renew(300, progress=False)
    assert 300 == deadline.timeout


def test_a_start_in_the_middle_of_a_request_takes_none_of_its_time() -> None:
    deadline = Deadline(Timeouts(timeout=30, total_timeout=60), 5)
    assert (True, False) == (deadline.allows(9, 55), deadline.allows(10, 55))

    deadline.extend(40)

    assert (50, True) == (deadline.left(55), deadline.allows(49, 55))
    deadline.stands_still = True
    deadline.renew(55, progress=False)
    assert 20 == deadline.timeout
    assert 50 == deadline.following(55).left(55)


def test_a_complete_answer_ends_soon_and_another_request_has_the_time_that_was_left() -> None:
    deadline = Deadline(Timeouts(total_timeout=60), 0)

    deadline.shorten(2, 10)

    assert (2, 2, 0) == (deadline.timeout, deadline.left(10), deadline.left(13))
    after = deadline.following(20)
    assert 40 == after.timeout
    after.renew(20, progress=False)
    assert (40, 40, 35) == (after.timeout, after.left(20), after.following(25).left(25))


def test_a_complete_answer_has_no_more_time_than_was_left() -> None:
    deadline = Deadline(Timeouts(total_timeout=60), 0)
    deadline.renew(59, progress=True)

    deadline.shorten(2, 59)

    assert (1, 1) == (deadline.timeout, deadline.left(59))


def test_without_a_total_the_time_that_is_left_has_no_limit() -> None:
    deadline = Deadline(Timeouts(), 0)

    assert deadline.left(1e9) is None
    assert deadline.following(5).left(1e9) is None
    assert deadline.allows(1e9, 5)
