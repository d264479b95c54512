"""Trace of a streamed message of ``ChatMlxcel``: each call of our functions on its path."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

from mlxcel_integrations.langchain import ChatMlxcel
from tests.fakes.server import FakeServer, Reply
from tests.structure.imports import PACKAGE, room

SOCKET = "socket"
PURE = ("protocol", "structured")


class Function(NamedTuple):
    """A function of ours, or one of httpcore's that uses the socket."""

    module: str
    name: str
    code: CodeType

    @property
    def is_named(self) -> bool:
        """Whether this is no comprehension and no lambda."""
        return not self.name.endswith(">")


class Call(NamedTuple):
    """A function that is called, or a generator that is resumed.

    The caller is the nearest function of ours that is not in a pure folder.
    """

    function: Function
    caller: Function | None


def streamed_message() -> list[Call]:
    """Return the calls for the second message of a chat model, whose answer has two tokens."""
    answer = Reply.events([chunk({"content": "a"}), chunk({"content": "b"}), chunk({}, "stop")])
    with FakeServer() as server, ChatMlxcel(base_url=server.url) as model:
        server.script(answer, answer)
        list(model.stream("Hi"))
        return traced(lambda: list(model.stream("Hi")))


def chunk(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    """Return an event of a streamed chat."""
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def traced(run: Callable[[], object]) -> list[Call]:
    """Return the calls that something makes in this thread."""
    calls = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        function = function_of(frame.f_code)
        if event == "call" and function:
            calls.append(Call(function, caller(frame)))

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return calls


def function_of(code: CodeType) -> Function | None:
    """Return the function whose code this is, None for one of others."""
    path, name = Path(code.co_filename), code.co_qualname
    if path.is_relative_to(PACKAGE):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        return Function(module, name, code)
    if "httpcore" in path.parts and name in ("SyncStream.read", "SyncStream.write"):
        return Function(SOCKET, name, code)
    return None


def caller(frame: FrameType) -> Function | None:
    """Return the nearest named function of ours that led here and is not in a pure folder."""
    while (back := frame.f_back) is not None:
        function = function_of(back.f_code)
        if function and function.is_named and room(function.module) not in PURE:
            return function
        frame = back
    return None
