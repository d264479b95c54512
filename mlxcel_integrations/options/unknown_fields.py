"""Unknown fields of requests: refused if they cannot be right, or warned about once."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from ..errors import warn_caller
from .names import check_field_name, nearest_sampling_field

__all__ = ["check_unknown_fields"]


def check_unknown_fields(names: Iterable[str]) -> None:
    """Check unknown names of sampling fields; warn of one that resembles a known one.

    Raises:
        MlxcelError: A name cannot be right.
    """
    for name in names:
        _check_unknown(name)


@functools.lru_cache(maxsize=256)
def _check_unknown(name: str) -> None:
    """Check an unknown name; since its answer is cached, a warning comes only once."""
    check_field_name(name)
    near = nearest_sampling_field(name)
    if near is not None:
        warn_caller(
            f"{name!r} is not a known sampling field and is sent as it is; did you mean "
            f"{near!r}? If the name is right, pass it in extra_body= to avoid this warning."
        )
