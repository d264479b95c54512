"""Progress bar of a start that takes long: one line in the terminal or notebook."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import Any, ClassVar
from weakref import WeakSet

from ..embedded import display_name
from .log_lines import Progress

__all__ = ["ProgressBar"]

SHOWN_AFTER, REDRAWN_EVERY = 2.0, 0.1
"""Seconds of a start before its bar is shown, and between two drawings of it."""

_screen = threading.Lock()
"""Held by the bar that is drawn: there is one line for it."""


class ProgressBar:
    """One line about a start in the terminal or notebook: ``Starting gemma-3-270m ... 3 s``.

    It shows what the server does until the start is over, and is removed if the start failed. It
    is drawn when a start takes longer than 2 s and no other start has the line. It raises no error,
    whatever happens to the output.

    Args:
        enabled: Whether to draw; None draws in a terminal and in a notebook only.
        model: Name or path of the model.
    """

    def __init__(self, enabled: bool | None, model: str) -> None:
        self._enabled = enabled
        self._task = f"Starting {display_name(model)} ..."
        self._next = SHOWN_AFTER
        self._off = False
        self._has_screen = False
        self._bar: Any = None
        self._drawn: tuple[str, float] | None = None
        self._download: tuple[float, float] | None = None

    def show(self, progress: Progress | None, elapsed: float) -> None:
        """Draw the line if it is due; cheap enough for every look at the server.

        Args:
            progress: Progress of the server, None if it is unknown.
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

    def end(self, elapsed: float) -> None:
        """End the line, if there is one, since the server is ready.

        Args:
            elapsed: Time since the start, in seconds.
        """
        bar, self._bar = self._bar, None
        if bar is not None:
            with contextlib.suppress(Exception):
                bar.close()
                bar.write(f"{self._task} {elapsed:.0f} s")
        self.close()

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
        if self._bar is None and not _is_shown(self._enabled):
            self._off = True
            return
        text = f"{self._task} {elapsed:.0f} s  {self._detail(progress, elapsed)}"
        # Without a percentage, a bar of blanks fills the line: tqdm cuts only what has a bar.
        form = "{desc}{bar}" if progress.fraction is None else "{percentage:3.0f}%|{bar:20}| {desc}"
        done = progress.fraction or 0.0
        # A notebook keeps in its file whatever was drawn, so nothing is drawn twice.
        if self._drawn == (drawn := (text, done)):
            return
        self._drawn = drawn
        if self._bar is None:
            new_bar = _Cell if _in_notebook() else _new_bar
            self._bar = new_bar(desc=text, bar_format=form, initial=done, total=1.0)
            return
        self._bar.bar_format, self._bar.n = form, done
        self._bar.set_description_str(text)

    def _detail(self, progress: Progress, elapsed: float) -> str:
        """Return what the server does; for a download, its size and the time that is left."""
        part, size = progress.fraction, progress.size
        if part is None or not progress.downloading:
            self._download = None
            return progress.text
        gigabytes = (size or 0.0) / 1e9
        # Small files are over before their sizes matter.
        large = gigabytes >= 0.1
        text = f"{part * gigabytes:.1f} of {gigabytes:.1f} GB" if large else progress.text
        if self._download is None or part < self._download[0]:
            # The download of a file has begun: the first one, or another after it.
            self._download = part, elapsed
        began_part, began = self._download
        if part == began_part:
            return text
        left = (elapsed - began) * (1 - part) / (part - began_part)
        return f"{text}, {left:.0f} s left" if left < 120 else f"{text}, {left / 60:.0f} min left"


def _is_shown(enabled: bool | None) -> bool:
    if enabled is not None:
        return enabled
    return _in_notebook() or sys.stderr.isatty()


def _in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook, without importing ipykernel."""
    app = sys.modules.get("ipykernel.kernelapp")
    return app is not None and app.IPKernelApp.initialized()


class _Cell:
    """A line in the output of a notebook's cell, each replacing the one before.

    It does not go to stderr, which a notebook shows as if something were wrong.
    """

    n = 0.0
    bar_format = ""

    def __init__(self, desc: str, **how: Any) -> None:
        from IPython.display import display

        show: Any = display  # IPython has no types
        self._handle = show(_as_display(desc), raw=True, display_id=True)

    def set_description_str(self, text: str) -> None:
        self._handle.update(_as_display(text), raw=True)

    def close(self) -> None:
        self.set_description_str("")

    def write(self, text: str) -> None:
        self.set_description_str(text)


def _as_display(text: str) -> dict[str, str]:
    return {"text/plain": text}


def _new_bar(**how: Any) -> Any:
    """Return a bar that shares nothing with the user's own bars."""
    # Not tqdm.auto: in a notebook it draws widgets, whose remains would be saved with it.
    from tqdm.std import tqdm

    class Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
        # No thread that watches the bars, and no multiprocessing lock, which starts a process on
        # macOS. The lock is this bar's alone, since tqdm does not release it if a write fails.
        monitor_interval = 0
        _lock = threading.RLock()
        _instances: ClassVar[WeakSet[Any]] = WeakSet()

        def write(self, text: str) -> None:
            print(text, file=self.fp, flush=True)

    return Bar(leave=False, dynamic_ncols=True, **how)
