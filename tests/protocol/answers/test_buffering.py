"""First tokens that came all at once, and those that only look like it."""

from __future__ import annotations

import pytest

from mlxcel_integrations.protocol.answers.buffering import BufferingDetector

Arrivals = list[tuple[float, int]]
"""When tokens were read, in seconds after they were asked for, and how many."""


def evenly(first: float, gap: float, count: int = 100) -> Arrivals:
    return [(first + gap * index, 1) for index in range(count)]


@pytest.mark.parametrize(
    ("arrivals", "expected"),
    [
        pytest.param([(5.0, 40)], True, id="one read at the end"),
        pytest.param([(1.0, 8)], True, id="eight tokens after a second of silence"),
        pytest.param(evenly(5.0, 0.0001), True, id="many pieces of one read"),
        pytest.param([(5.0, 15), (9.0, 15), (13.0, 15)], True, id="full buffers, one by one"),
        pytest.param(evenly(0.1, 0.03), False, id="a usual server"),
        pytest.param(evenly(30.0, 0.02), False, id="a long prompt"),
        pytest.param([(5.0, 1), (60.0, 99)], False, id="a slow reader"),
        pytest.param(evenly(30.0, 0.005), False, id="two hundred tokens a second"),
        pytest.param(evenly(30.0, 0.001), None, id="faster than any server, and not at once"),
        pytest.param([(0.99, 40)], None, id="a quick answer"),
        pytest.param([(5.0, 7)], None, id="a short answer"),
        pytest.param([], None, id="no answer"),
    ],
)
def test_what_the_first_tokens_tell(arrivals: Arrivals, expected: bool | None) -> None:
    times = [1000.0 + at for at, tokens in arrivals for _ in range(tokens)]

    assert expected == BufferingDetector(1000.0, times).were_buffered


def test_later_tokens_are_not_looked_at() -> None:
    times = [at for at, _ in evenly(2.0, 0.03, 8)]

    assert False is BufferingDetector(0.0, [*times, *[60.0] * 400]).were_buffered
