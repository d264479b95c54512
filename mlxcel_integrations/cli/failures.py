"""Which errors are for the user: their message says what happened and what to do."""

from __future__ import annotations

from ..errors import MlxcelError

__all__ = ["is_for_the_user"]


def is_for_the_user(error: Exception) -> bool:
    """Tell whether a message is enough, and a traceback would only be in the way."""
    if isinstance(error, MlxcelError):
        return True
    import openai

    return isinstance(error, openai.OpenAIError)
