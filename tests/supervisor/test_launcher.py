"""A start that goes wrong without an end of the process is told, and told in time."""

from __future__ import annotations

import time

import pytest

from mlxcel_integrations import MlxcelServerError, MlxcelTimeoutError

from .conftest import Fake


@pytest.mark.parametrize("warmup", [True, False])
def test_weights_that_cannot_be_loaded_are_told_within_5_s(fake: Fake, warmup: bool) -> None:
    server = fake.server(fake.binary(WEIGHTS_FAIL="1"), warmup=warmup)
    began = time.monotonic()

    with pytest.raises(MlxcelServerError, match="cannot load the model") as caught:
        server.start()
    assert time.monotonic() - began < 5
    assert not isinstance(caught.value, MlxcelTimeoutError)
    assert "(failed to load the model's weights: unsupported tensor)" in str(caught.value)
    assert ([], []) == (fake.running, fake.directories)


def test_a_server_that_falls_silent_is_given_up(fake: Fake) -> None:
    server = fake.server(fake.binary(LOAD_SECONDS="60"), stall_timeout=0.5)

    with pytest.raises(MlxcelTimeoutError, match=r"silent for 0\.5 s .* Raise stall_timeout="):
        server.start()
    assert ([], []) == (fake.running, fake.directories)


def test_a_download_may_take_longer_than_the_start(fake: Fake) -> None:
    """A repository is downloaded before it is loaded."""
    server = fake.server(fake.binary(LOAD_SECONDS="1.5"), model="org/name", startup_timeout=0.8)

    server.start()
    assert [server.pid] == fake.running
