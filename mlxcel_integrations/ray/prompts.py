"""Prompts for rows: a template, or a function of the user."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from string import Formatter
from typing import Any

from ..errors import MlxcelError
from ..protocol.messages import Messages

__all__ = ["Messages", "Prompt", "Row", "Template", "messages_for"]

Row = Mapping[str, Any]
Prompt = str | Callable[[Row], Messages]


class Template:
    """A text with names of columns in braces.

    Args:
        text: The text; literal braces are doubled, as for ``str.format``.

    Attributes:
        columns: The names, each once.

    Raises:
        MlxcelError: A brace is unbalanced, or holds no name.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        try:
            fields = [field for _, field, _, _ in Formatter().parse(text) if field is not None]
        except ValueError as error:
            raise MlxcelError(
                f"The prompt is not a valid template: {error}. Write {{{{ and }}}} for literal "
                "braces."
            ) from None
        # A name may be followed by an attribute or an index: {user.name}, {words[0]}.
        self.columns = list(dict.fromkeys(re.split(r"[.\[]", field)[0] for field in fields))
        if "" in self.columns:
            raise MlxcelError(
                "The prompt has braces without a name: write the name of a column, as in {text}, "
                "or {{}} for literal braces."
            )

    def __call__(self, row: Row) -> str:
        """Return the text for a row."""
        for name in self.columns:
            if row[name] is None:
                raise MlxcelError(f"The column {name!r} is null in this row.")
        return self._text.format_map(row)


def messages_for(row: Row, prompt: Callable[[Row], Messages]) -> Messages:
    """Return the messages that a prompt makes of a row.

    Raises:
        MlxcelError: The prompt raises an error for this row, or is empty.
    """
    try:
        messages = prompt(row)
    except MlxcelError:
        raise
    except Exception as error:
        raise MlxcelError(
            f"The prompt failed for this row: {type(error).__name__}: {error}"
        ) from error
    if not (messages.strip() if isinstance(messages, str) else messages):
        raise MlxcelError("The prompt of this row is empty.")
    return messages
