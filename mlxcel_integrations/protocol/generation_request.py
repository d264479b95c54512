"""``Request``: one generation to ask for, and where its answer ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from .sampling import has_schema

if TYPE_CHECKING:
    from .answers.stream import DeltaStream

__all__ = ["Check", "Request", "reader_factory", "stop_texts"]

Check = Callable[[Mapping[str, Any], str], None]
"""Checks the text of an answer by the body of its request."""


class Request(NamedTuple):
    """Request for one generation.

    Attributes:
        route: Path below the server's root.
        body: The JSON body.
        stream: Makes a reader of the answer.
        session: Name of the conversation that it belongs to, None for that of the client.
        relaxable: Whether its schema may be sent without what the server cannot compile, since
            the answer is checked by the whole of it.
        follow_up: Makes the request that follows, from the reader of the whole answer; None if none
            does. Both answers are read as one.
        fallback: The request to send if the server refuses this one; None if there is none.
        without_tools: Makes the request to send if the server refuses this one because it knows
            no tools; None without tools.
        thinks_first: Whether the model thinks before the answer, which has a schema, or may get
            one.
        check: Checks, by the body that was sent, JSON after which its generation failed; None if
            the caller checks the answer.
    """

    route: str
    body: dict[str, Any]
    stream: Callable[[], DeltaStream]
    session: str | None = None
    relaxable: bool = False
    follow_up: Callable[[DeltaStream], Request] | None = None
    fallback: Request | None = None
    without_tools: Callable[[], Request] | None = None
    thinks_first: bool = False
    check: Check | None = None


def reader_factory(
    stream: Callable[..., DeltaStream], body: Mapping[str, Any], *, may_repeat: bool = False
) -> Callable[[], DeltaStream]:
    """Return a factory of streams that end where the answer to a request body does.

    Stop texts do not end JSON: its strings may contain them.

    Args:
        stream: Makes a stream.
        body: The request body.
        may_repeat: Whether JSON that repeats itself is read to its end.
    """
    if has_schema(body):
        return partial(stream, has_schema=True, may_repeat=may_repeat, must_end=True)
    stops = stop_texts(body)
    return partial(stream, stops) if stops else stream


def stop_texts(body: Mapping[str, Any]) -> list[str]:
    """Return the texts that end the answer to a request body."""
    stop = body.get("stop") or ()
    texts = [stop] if isinstance(stop, str) else stop
    return [text for text in texts if isinstance(text, str) and text]
