"""Translation of errors, so that LangChain's handlers catch them, too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..errors import MlxcelError
from .mlxcel_errors import from_mlxcel

__all__ = ["langchain_errors"]


@contextlib.contextmanager
def langchain_errors() -> Iterator[None]:
    """Raise errors of this package and of ``openai`` as subclasses of LangChain's, too."""
    try:
        yield
    except MlxcelError as error:
        raise from_mlxcel(error).with_traceback(None) from error.__cause__
    except Exception as error:
        if not any(kind.__module__.startswith("openai") for kind in type(error).__mro__):
            raise
        from .openai_errors import from_openai

        raise from_openai(error).with_traceback(None) from error.__cause__
