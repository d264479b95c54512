"""Raise an exception at a chosen line of the package, as a signal at that moment would."""

from __future__ import annotations

import ast
import functools
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import mlxcel_integrations

PACKAGE = str(Path(mlxcel_integrations.__file__).parent) + os.sep
VISITS = 3
"""How often a line counts that runs over and over, as in a loop that waits."""


@dataclass(frozen=True)
class Point:
    """A moment of a program: just before a line runs for the nth time.

    Attributes:
        file: Path of the file, inside the package.
        line: Number of the line.
        nth: Counted from 1.
        function: Where the line is.
        leaves_with: Whether the line is that of a `with` statement whose block has ended. CPython
            then looks for no signal before `__exit__` is called, so that only an injected exception
            keeps `__exit__` from being called.
    """

    file: str
    line: int
    nth: int
    function: str
    leaves_with: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function} (visit {self.nth})"


class Injector:
    """Note each line of the package that runs, and raise an exception at one of them.

    Args:
        at: Where; None only notes.
        error: What is raised there.
        every_thread: Whether the threads that begin in the meantime count too.

    Attributes:
        points: Every line that ran, in order.
        fired: Whether the exception was raised.
    """

    def __init__(
        self,
        at: Point | None = None,
        error: type[BaseException] = KeyboardInterrupt,
        *,
        every_thread: bool = False,
    ) -> None:
        self.points: list[Point] = []
        self.fired = False
        self._at = at and (at.file, at.line, at.nth)
        self._error = error
        self._every_thread = every_thread
        self._visits: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()

    def __enter__(self) -> Injector:
        if self._every_thread:
            threading.settrace(self._enter)
        sys.settrace(self._enter)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]  # how it is switched off

    def _enter(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        before = frame.f_lineno

        def trace(frame: FrameType, event: str, arg: Any) -> Callable[..., Any]:
            nonlocal before
            if event == "line":
                leaves_with = before in _blocks(frame.f_code.co_filename).get(frame.f_lineno, ())
                before = frame.f_lineno
                self._visit(frame, leaves_with)
            return trace

        return trace

    def _visit(self, frame: FrameType, leaves_with: bool) -> None:
        place = frame.f_code.co_filename.removeprefix(PACKAGE), frame.f_lineno
        with self._lock:
            self._visits[place] += 1
            nth = self._visits[place]
            if nth > VISITS:
                return
            self.points.append(Point(*place, nth, frame.f_code.co_qualname, leaves_with))
            fires = self._at == (*place, nth)
            self.fired = self.fired or fires
        if fires:
            raise self._error


@functools.cache
def _blocks(path: str) -> dict[int, range]:
    """Return the lines of the block of each `with` statement of a file, by its first line."""
    tree = ast.parse(Path(path).read_text())
    return {
        node.lineno: range(node.body[0].lineno, (node.body[-1].end_lineno or 0) + 1)
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
    }
