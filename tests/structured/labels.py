"""Names for tests."""

from __future__ import annotations

__all__ = ["label"]


def label(value: object) -> str:
    """Return how a value is called in the name of a test.

    Nothing in it has to be escaped: pytest would do it once more with each run in one process, and
    ``make mutants`` would not find the test again.
    """
    return ascii(value).replace("\\", "")[:40]
