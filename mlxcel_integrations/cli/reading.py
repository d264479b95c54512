"""Line that shows how much of a prompt the server has read."""

from __future__ import annotations

from collections.abc import Callable

from ..protocol.answers.prompt_progress import PromptProgress
from .terminal import Terminal

__all__ = ["reading_line"]


def reading_line(log: Terminal) -> Callable[[PromptProgress], None]:
    """Return a function that shows progress as the live line of a terminal."""
    return lambda progress: log.live(f"Reading the prompt ... {100 * progress.share:.0f} %")
