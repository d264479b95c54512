"""How a flow is run in tests: a function answers what it asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from mlxcel_integrations.protocol.failures import Failure
from mlxcel_integrations.protocol.flow import Call, Flow, Gather

T = TypeVar("T")


def drive(
    flow: Flow[T], answer: Callable[[Call], Any], together: Callable[[Gather], object] = id
) -> T:
    """Run a flow to its end; a status that it does not expect is an error of the server.

    Args:
        flow: The flow.
        answer: Returns what the server answers.
        together: Told of flows that need not wait for each other.
    """
    reply = None
    while True:
        try:
            step = flow.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result
        if isinstance(step, Call):
            reply = _answered(step, answer)
        else:
            together(step)
            # In the opposite order, which must not matter.
            reply = [drive(flow, answer) for flow in reversed(step.flows)][::-1]
            for part in reply:
                step.done(part)


def _answered(ask: Call, answer: Callable[[Call], Any]) -> Any:
    reply = answer(ask)
    if isinstance(reply, Failure) and not ask.accepts(reply):
        raise AssertionError(f"{ask.path} answered {reply.status}")
    return reply


def failure(status: int, message: str = "") -> Failure:
    return Failure("APIStatusError", message, status=status)
