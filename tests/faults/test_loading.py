"""What can go wrong while a server loads: it dies, hangs, is silent, or talks nonsense."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mlxcel_integrations import MlxcelServerError, MlxcelTimeoutError
from tests.supervisor.conftest import Fake


@contextlib.contextmanager
def took(at_least: float, *, less_than: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert at_least <= time.monotonic() - began < less_than


# --------------------------------------------------------------------------- the process


@pytest.mark.parametrize("name", ["ABRT", "SEGV", "ILL", "KILL", "TERM"])
def test_a_signal_that_ends_a_start_is_named(name: str, fake: Fake) -> None:
    binary = fake.script(f"ulimit -c 0; echo loading; kill -{name} $$")

    with pytest.raises(MlxcelServerError, match=rf"signal \d+ \(SIG{name}") as caught:
        fake.server(binary).start()

    assert "loading" == caught.value.stderr
    assert (name == "KILL") == ("memory" in str(caught.value))
    assert caught.value.returncode is not None
    assert caught.value.returncode < 0
    assert ([], []) == (fake.running, fake.directories)


def test_an_end_of_the_start_names_the_command_without_the_key(fake: Fake) -> None:
    with pytest.raises(MlxcelServerError) as caught:
        fake.server(fake.script("exit 7"), api_key="sk-secret").start()

    assert "exit status 7" in str(caught.value)
    assert "sk-secret" not in repr(caught.value) + str(vars(caught.value))


def test_what_hangs_while_loading_and_ignores_sigterm_is_given_up_in_time(fake: Fake) -> None:
    binary = fake.binary(LOAD_SECONDS="60", IGNORE_SIGTERM="1")
    server = fake.server(binary, startup_timeout=0.5, shutdown_grace=0.3)

    with took(0.8, less_than=2), pytest.raises(MlxcelTimeoutError, match=r"0\.5 s"):
        server.start()

    assert ([], []) == (fake.running, fake.directories)


# --------------------------------------------------------------------------- /health

FOR_A_WHILE = ["silent", "close", "garbage", "302", "500", "502", "503"]


@pytest.mark.parametrize("health", FOR_A_WHILE)
def test_a_health_that_is_wrong_for_a_while_is_asked_again(health: str, fake: Fake) -> None:
    binary = fake.binary(HEALTH=health, HEALTH_SECONDS="0.4")

    with took(0.4, less_than=4):
        server = fake.server(binary, startup_timeout=10).start()

    assert server.poll() is None


@pytest.mark.parametrize(
    ("health", "answered"),
    [
        ("silent", ""),
        ("close", ""),
        ("302", " (its /health answered 302)"),
        ("500", " (its /health answered 500)"),
    ],
)
def test_a_health_that_stays_wrong_is_given_up_at_the_deadline(
    health: str, answered: str, fake: Fake
) -> None:
    server = fake.server(fake.binary(HEALTH=health), startup_timeout=0.8)

    # One silent answer is waited for at most a second.
    with took(0.8, less_than=3), pytest.raises(MlxcelTimeoutError, match=r"0\.8 s") as caught:
        server.start()

    assert f"was not ready within 0.8 s{answered}. Raise startup_timeout=" in str(caught.value)
    assert "listening on" in caught.value.stderr
    assert ([], []) == (fake.running, fake.directories)


@pytest.mark.parametrize("health", ["401", "403", "404"])
def test_what_refuses_health_or_knows_none_is_no_server(health: str, fake: Fake) -> None:
    server = fake.server(fake.binary(HEALTH=health), startup_timeout=30)

    with took(0, less_than=5), pytest.raises(MlxcelServerError, match="is not a model server"):
        server.start()

    assert ([], []) == (fake.running, fake.directories)


# --------------------------------------------------------------------------- stall_timeout


def slow(fake: Fake, lines: int, pause: float, **switches: str) -> str:
    """Return a program that prints lines, each after a pause, before it goes on as usual."""
    binary = fake.binary("real", **switches)
    counted = f"i=0; while [ $i -lt {lines} ]; do sleep {pause}; echo step $i; i=$((i + 1)); done"
    return fake.script(f'{counted}\nexec {binary} "$@"')


def test_a_slow_start_that_goes_on_printing_is_waited_for(fake: Fake) -> None:
    binary = slow(fake, 8, 0.2)

    with took(1.6, less_than=8):
        server = fake.server(binary, stall_timeout=1).start()

    assert server.poll() is None


@pytest.mark.parametrize(
    ("lines", "options"),
    [(0, {}), (3, {}), (0, {"warmup": False})],
    ids=["from the beginning", "later", "in /health"],
)
def test_a_start_that_prints_nothing_more_is_told_as_stalled(
    lines: int, options: dict[str, Any], fake: Fake
) -> None:
    binary = slow(fake, lines, 0.2, LOAD_SECONDS="60")
    server = fake.server(binary, stall_timeout=0.6, **options)

    with (
        took(0.6 + lines * 0.2, less_than=4),
        pytest.raises(MlxcelTimeoutError, match="stall_timeout"),
    ):
        server.start()

    assert ([], []) == (fake.running, fake.directories)


def test_printing_does_not_move_the_deadline_of_the_whole_start(fake: Fake) -> None:
    server = fake.server(slow(fake, 100, 0.1), startup_timeout=0.8, stall_timeout=0.5)

    with took(0.8, less_than=3), pytest.raises(MlxcelTimeoutError, match="startup_timeout"):
        server.start()

    assert ([], []) == (fake.running, fake.directories)
