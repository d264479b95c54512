"""How far a start is: read from what the server prints, and shown while it takes long."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakSet

__all__ = ["Progress", "ProgressBar", "read_progress", "split_line"]

SHOWN_AFTER, REDRAWN_EVERY = 2.0, 0.1
"""Seconds; a start that is faster than the first shows nothing."""

_LONGEST_TEXT = 120
_READ = 8 * 1024
"""Characters in which the last line that says something is looked for."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a server that starts is doing.

    Attributes:
        text: Its last line, without time, level and control characters.
        fraction: Part that is done, 0 to 1, None if the line tells none.
        downloading: Whether it is fetching the model.
    """

    text: str
    fraction: float | None
    downloading: bool


_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")
_PREFIX = re.compile(
    r"""
    (?: \[? \d{4}-\d\d-\d\d [T ] \d\d:\d\d:\d\d (?:[.,]\d+)? (?:Z|[+-]\d\d:?\d\d)? \]? \s+ )?
    (?: \d+\.\d\d\.\d{3}\.\d{3} \s+ )?                      # llama.cpp: time since the start
    (?: \[? (?P<level>TRACE|DEBUG|INFO|WARN(?:ING)?|ERROR) \]? \s+
        (?: [a-z_]\w* (?:::\w+)* : \s+ )?                   # the module that says it
      | (?P<letter>[DIWE]) \s+
    )?
    """,
    re.VERBOSE,
)
_WEIGHTS = r"\.(?:safetensors|gguf|json|jinja|txt|model)\b"
_MOVING = re.compile(rf"load|fetch|progress|\||{_WEIGHTS}", re.IGNORECASE)
_PERCENT = re.compile(r"(?<![\w.])(\d{1,3}(?:\.\d+)?) ?%(?! of\b)")
_SIZES = re.compile(
    r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)? ?/ ?(\d+(?:\.\d+)?) ?([KMGT])(?:i?B)?\b", re.I
)
_UNITS = {unit: 1024.0**power for power, unit in enumerate("KMGT", 1)}
_DOWNLOAD = re.compile(
    rf"\bdownload(?:ing|ed)?\b|\bfetching\b|^\[\d+/\d+\] (?:cached|done):|{_WEIGHTS}.*\d ?[%/]",
    re.IGNORECASE,
)
_NO_DOWNLOAD = re.compile(
    r"\bload(?:ing|ed)?\b|\bcompleted?\b|\bfinished\b|\bskipping\b|\bfailed\b", re.IGNORECASE
)


def read_progress(tail: str) -> Progress | None:
    """Read how far a server is from the end of what it printed; None if it tells nothing."""
    # Carriage returns end lines here, too: a bar that is drawn anew has its news at the end.
    for line in reversed(tail[-_READ:].splitlines()):
        text = split_line(line)[1][:_LONGEST_TEXT]
        if any(map(str.isalpha, text)) or _PERCENT.search(text):
            downloading = _DOWNLOAD.search(text) and not _NO_DOWNLOAD.search(text)
            return Progress(text, _fraction(text), bool(downloading))
    return None


def split_line(line: str) -> tuple[str | None, str]:
    """Split a line of a log into the first letter of its level, if it has one, and its text.

    The text can be shown: it is without time and module, escape sequences and control characters.
    """
    plain = _ESCAPE.sub("", line)
    if not plain.isprintable():
        plain = "".join(c if c.isprintable() else " " for c in plain)
    plain = " ".join(plain.split())
    prefix = _PREFIX.match(plain)
    assert prefix is not None  # each part of it is optional
    level = prefix["level"] or prefix["letter"]
    return level and level[0], plain[prefix.end() :]


def _fraction(text: str) -> float | None:
    """Return the part that is done; a count of files tells nothing about their sizes."""
    if not _MOVING.search(text):
        return None
    fraction = None
    if percent := _PERCENT.search(text):
        fraction = float(percent[1]) / 100
    elif sizes := _SIZES.search(text):
        done = float(sizes[1]) * _UNITS[(sizes[2] or sizes[4]).upper()]
        total = float(sizes[3]) * _UNITS[sizes[4].upper()]
        fraction = done / total if total else None
    return fraction if fraction is not None and fraction <= 1 else None


_screen = threading.Lock()
"""Held by the bar that is drawn: there is one line for it."""


class ProgressBar:
    """One line about a start in the terminal or the notebook, gone when the start is over.

    It is drawn when a start takes longer than 2 s, and no other start has the line. Whatever
    happens to the output, no error comes out of it.

    Args:
        wanted: Whether to draw; None draws in a terminal and in a notebook only.
    """

    def __init__(self, wanted: bool | None) -> None:
        self._wanted = wanted
        self._next = SHOWN_AFTER
        self._off = False
        self._has_screen = False
        self._bar: Any = None
        self._drawn: tuple[str, float] | None = None

    def show(self, progress: Progress | None, elapsed: float) -> None:
        """Draw what is due; cheap enough for every look at the server.

        Args:
            progress: What it is doing, None if that is unknown.
            elapsed: Time since the start, in seconds.
        """
        if self._off or elapsed < self._next:
            return
        self._next = elapsed + REDRAWN_EVERY
        self._has_screen = self._has_screen or _screen.acquire(blocking=False)
        if self._has_screen:
            try:
                self._draw(progress or Progress("starting the server", None, False), elapsed)
            except Exception:  # noqa: BLE001  a closed or broken output must not end a start
                self._off = True

    def close(self) -> None:
        """Remove the line."""
        self._off = True
        if self._bar is not None:
            with contextlib.suppress(Exception):
                self._bar.close()
        if self._has_screen:
            self._has_screen = False
            _screen.release()

    def _draw(self, progress: Progress, elapsed: float) -> None:
        if self._bar is None and not _is_shown(self._wanted):
            self._off = True
            return
        text = f"{elapsed:.0f} s  {progress.text}"
        # Without a percentage, a bar of blanks fills the line: tqdm cuts only what has a bar.
        form = "{desc}{bar}" if progress.fraction is None else "{percentage:3.0f}%|{bar:20}| {desc}"
        done = progress.fraction or 0.0
        # In a notebook, all that was ever drawn stays in the file.
        if self._drawn == (drawn := (text, done)):
            return
        self._drawn = drawn
        if self._bar is None:
            self._bar = _new_bar(desc=text, bar_format=form, initial=done, total=1.0)
            return
        self._bar.bar_format, self._bar.n = form, done
        self._bar.set_description_str(text)


def _is_shown(wanted: bool | None) -> bool:
    if wanted is not None:
        return wanted
    return _in_notebook() or sys.stderr.isatty()


def _in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook, which nothing else needs to import."""
    app = sys.modules.get("ipykernel.kernelapp")
    return app is not None and app.IPKernelApp.initialized()


def _new_bar(**how: Any) -> Any:
    """Return a bar that shares nothing with those of the user."""
    # In notebooks too: of a bar made of widgets, the saved notebook would keep the remains.
    from tqdm.std import tqdm

    class Bar(tqdm):  # type: ignore[misc]  # it has no types
        # No thread that watches the bars, and no lock of multiprocessing, which on macOS starts a
        # process. The lock is of this bar alone: tqdm does not give it back when a write fails.
        monitor_interval = 0
        _lock = threading.RLock()
        _instances: ClassVar[WeakSet[Any]] = WeakSet()

    return Bar(leave=False, dynamic_ncols=True, **how)
