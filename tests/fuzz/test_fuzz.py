"""Whatever a server sends, only errors of our own come out, and its pieces make no difference.

A short run of `python -m tests.fuzz`, each time with the same inputs, and the script itself.
"""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from tests.fuzz.run import try_all, try_one


@pytest.mark.parametrize("part", range(4))
def test_wrong_answers_do_no_harm(part: int) -> None:
    found = try_all(7, range(part, 6000, 4))

    assert not found, f"{len(found)} findings, first {found[0]}"


def test_an_input_is_known_by_its_seed_and_number() -> None:
    made: list[float] = []
    targets = {"any": (lambda rng: made.append(rng.random()), 1)}
    for seed, number in ((1, 5), (1, 5), (1, 6), (2, 5)):
        try_one(seed, number, targets)

    assert 3 == len(set(made))
    assert made[0] == made[1]


def test_a_finding_says_how_to_try_it_again() -> None:
    def fail(rng: random.Random) -> None:
        raise LookupError("a bug")

    found = str(try_one(3, 4, {"any": (fail, 1)}))

    assert "python -m tests.fuzz --seed 3 --number 4" in found
    assert "LookupError: a bug" in found


def test_an_input_that_takes_too_long_is_a_finding() -> None:
    targets = {"any": (lambda rng: None, 1)}

    assert "it took" in str(try_one(3, 4, targets, most_seconds=-1.0))
    assert try_one(3, 4, targets) is None


def test_the_script_spreads_its_inputs_and_tells_the_seed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "300", "--seed", "5", "--jobs", "2"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert 0 == done.returncode, done.stderr
    assert "0 findings in 300 inputs, --seed 5" in done.stdout
