"""What fails to start is closed, however it failed, and its error is the one that is told."""

from __future__ import annotations

import asyncio

import pytest

from mlxcel_integrations.transport.lifecycle import aclosed_on_failure, closed_on_failure

FAILURES = [OSError("no memory"), KeyboardInterrupt(), asyncio.CancelledError()]
EACH_FAILURE = pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)


class Resource:
    closed = 0

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


@EACH_FAILURE
def test_what_fails_to_start_is_closed(error: BaseException) -> None:
    resource = Resource()
    with pytest.raises(type(error)) as raised, closed_on_failure(resource.close):
        raise error

    assert error is raised.value
    assert 1 == resource.closed


@EACH_FAILURE
async def test_what_fails_to_start_in_a_loop_is_closed(error: BaseException) -> None:
    resource = Resource()
    with pytest.raises(type(error)) as raised:
        async with aclosed_on_failure(resource.aclose):
            raise error

    assert error is raised.value
    assert 1 == resource.closed


async def test_what_starts_stays_open() -> None:
    resource = Resource()
    with closed_on_failure(resource.close):
        pass
    async with aclosed_on_failure(resource.aclose):
        pass

    assert 0 == resource.closed
