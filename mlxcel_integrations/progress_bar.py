"""Progress bar of operations on many texts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

__all__ = ["progress_bar"]


@contextlib.contextmanager
def progress_bar(shown: bool, total: int, title: str) -> Iterator[Callable[[int], object]]:
    """Show a bar, and yield a function that takes how many more texts are done.

    Args:
        shown: Whether to show the bar.
        total: Number of texts.
        title: Name of the operation.
    """
    if not shown:
        yield lambda count: None
        return
    # Not tqdm.auto: its bar for notebooks needs packages that may not be installed.
    from tqdm.std import tqdm

    with tqdm(total=total, desc=title) as bar:
        yield bar.update
