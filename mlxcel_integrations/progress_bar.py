"""A bar that shows how many texts are done, for those who ask for one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

__all__ = ["progress_bar"]


@contextlib.contextmanager
def progress_bar(shown: bool, total: int, title: str) -> Iterator[Callable[[int], object]]:
    """Yield what is to be told how many more are done.

    Args:
        shown: Whether there is a bar at all.
        total: How many there are.
        title: What is done to them.
    """
    if not shown:
        yield lambda count: None
        return
    # In notebooks too: a bar made of widgets needs packages that may not be there.
    from tqdm.std import tqdm

    with tqdm(total=total, desc=title) as bar:
        yield bar.update
