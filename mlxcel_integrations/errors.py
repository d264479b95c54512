"""Exceptions of this package, and warnings.

::

    MlxcelError                        wrong use, and the base of all below
    ├── MlxcelServerError              a managed server did not start, or died
    │   └── MlxcelTimeoutError         it was not ready in time
    ├── MlxcelStreamError              an answer broke off, or was not a stream
    └── StructuredOutputError          an answer does not fit its schema
        └── StructuredOutputTruncated  because it was cut short

Error statuses and failed connections raise the exceptions of the ``openai`` package, on every
route: ``openai.APIStatusError`` and its family, ``openai.APIConnectionError``,
``openai.APITimeoutError``.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = [
    "MlxcelError",
    "MlxcelServerError",
    "MlxcelStreamError",
    "MlxcelTimeoutError",
    "ShortTraceback",
    "StructuredOutputError",
    "StructuredOutputTruncated",
    "causes",
    "check_program_goes_on",
    "program_is_ending",
    "warn_caller",
    "with_end_of",
]


class ShortTraceback(Exception):
    """An exception of this package, whose traceback in a notebook has only the user's own lines.

    A notebook shows several lines of each function, and frameworks have many functions between the
    user's line and this package. ``%xmode Verbose`` shows all of them.
    """

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows."""
        from IPython import get_ipython

        show: Any = get_ipython().InteractiveTB
        frames = self.__traceback__
        if show.mode != "Verbose":
            frames = _user_frames(frames) or frames
        shown: list[str] = show.structured_traceback(type(self), self, frames, tb_offset=0)
        return shown


class MlxcelError(ShortTraceback):
    """Wrong use of this package, or a failure of a server, a stream or structured output."""


class MlxcelServerError(MlxcelError):
    """A managed server could not be started, or ended unexpectedly.

    Args:
        message: What happened, where, and what to do next.
        stderr: The tail of the server's output, standard output included.
        returncode: Its exit status as in ``subprocess``: negative for a signal, None if it
            had not ended.
    """

    def __init__(self, message: str, *, stderr: str = "", returncode: int | None = None) -> None:
        super().__init__(with_end_of(stderr, message))
        self.stderr = stderr
        self.returncode = returncode


class MlxcelTimeoutError(MlxcelServerError):
    """A managed server was not ready in time."""


class MlxcelStreamError(MlxcelError):
    """An answer broke off, or was not a stream.

    Args:
        message: What happened, where, and what to do next.
        partial: The text of the answer that had arrived.
        stderr: The tail of the output of a managed server that failed.
    """

    def __init__(self, message: str, *, partial: str = "", stderr: str = "") -> None:
        super().__init__(with_end_of(stderr, message))
        self.partial = partial
        self.stderr = stderr


class StructuredOutputError(MlxcelError):
    """An answer does not fit the schema of its request.

    Args:
        message: What does not fit, and what to do next.
        raw: The text of the answer.
        finish_reason: Why the server ended it.
        problem: What is wrong with the answer, in words for the model; None if it would not help
            to ask again.
    """

    def __init__(
        self,
        message: str,
        *,
        raw: str = "",
        finish_reason: str | None = None,
        problem: str | None = None,
    ) -> None:
        super().__init__(message)
        self.raw = raw
        self.finish_reason = finish_reason
        self.problem = problem


class StructuredOutputTruncated(StructuredOutputError):
    """An answer was cut before its JSON ended, mostly by ``max_tokens``.

    Args:
        message: What does not fit, and what to do next.
        raw: The text of the answer.
        finish_reason: Why the server ended it.
        problem: What is wrong with the answer, in words for the model.
        partial: The readable part of the answer, as plain JSON; None if there is none.
    """

    def __init__(
        self,
        message: str,
        *,
        raw: str = "",
        finish_reason: str | None = None,
        problem: str | None = None,
        partial: Any = None,
    ) -> None:
        super().__init__(message, raw=raw, finish_reason=finish_reason, problem=problem)
        self.partial = partial


def check_program_goes_on() -> None:
    """Check that Python is not ending: from then on it imports nothing and starts no thread.

    Called before either is needed: some of it would fail, and some would wait forever.

    Raises:
        MlxcelServerError: It is.
    """
    if sys.is_finalizing():
        raise program_is_ending()


def program_is_ending() -> MlxcelServerError:
    """Return the error for the use of a model while Python is ending."""
    return MlxcelServerError(
        "The program is ending, so no model can be used any more. Use it earlier, at the latest "
        "in a function registered with atexit."
    )


_PACKAGE_DIRECTORY = str(Path(__file__).parent) + os.sep
_PYTHON_DIRECTORIES = str(Path(os.__file__).parent) + os.sep


def _user_frames(frames: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of this package, of Python and of other packages."""
    if frames is None:
        return None
    rest = _user_frames(frames.tb_next)
    file = frames.tb_frame.f_code.co_filename
    if (
        file.startswith((_PACKAGE_DIRECTORY, _PYTHON_DIRECTORIES))
        or "site-packages" in file
        or "dist-packages" in file
    ):
        return rest
    return TracebackType(rest, frames.tb_frame, frames.tb_lasti, frames.tb_lineno)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, the outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def with_end_of(log: str, message: str) -> str:
    """Return a message with the last lines of a log below it, indented.

    Rust backtraces are left out. If an error is further up, it is put before the last lines.
    """
    log = re.sub(_BACKTRACE, "", log, flags=re.IGNORECASE | re.MULTILINE)
    lines = log.rstrip().splitlines()
    shown = lines[-10:]
    above = [at for at, line in enumerate(lines[:-10]) if _is_reason(line)]
    if above and not any(map(_is_reason, shown)):
        shown = [*lines[above[-1] : above[-1] + 4], "...", *lines[-6:]]
    return "\n".join([message, *(f"  | {line}" for line in shown)])


_BACKTRACE = r"^ *stack backtrace:$(?:\n +(?:\d+: |at ).*)*\n?"


def _is_reason(line: str) -> bool:
    """Return whether a line begins by saying why a program ends."""
    found = re.match(r"(?:fatal )?error: |thread .* panicked at ", line, re.IGNORECASE)
    return found is not None


_LIBRARIES_BETWEEN = (
    f"{__name__.rpartition('.')[0]}.",
    "langchain.",
    "langchain_core.",
    "langgraph.",
    "llama_index.",
)
"""Modules that stand between a user's line and a warning."""


def warn_caller(message: str) -> None:
    """Warn, and point at the line of the user, outside of this package and of frameworks."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(
        _LIBRARIES_BETWEEN
    ):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level + 1)
