"""Values of an adapter's options, checked as its constructor checks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ..errors import MlxcelError
from ..options.fields import (
    ChatOptions,
    ConnectionOptions,
    EmbeddingOptions,
    RerankOptions,
    SamplingParams,
    ServerOptions,
)
from ..options.names import demands, plain_values
from ..secret import with_secrets

__all__ = ["FIELD_ORDER", "OptionError", "checked_numbers", "checked_value"]

OPTION_CLASSES = (
    SamplingParams,
    ChatOptions,
    EmbeddingOptions,
    RerankOptions,
    ConnectionOptions,
    ServerOptions,
)
FIELD_ORDER = dict.fromkeys(
    [
        "model",
        "temperature",
        "max_tokens",
        *(n for kind in OPTION_CLASSES for n in kind.model_fields),
    ]
)
"""Fields in the order in which editors, ``help`` and ``model_fields`` show them."""


class OptionError(MlxcelError, ValueError):
    """An option is unknown, or its value is invalid; a ``ValueError``, like Pydantic's errors."""


def checked_value(name: str, value: Any) -> Any:
    """Return the value of an option as the constructor would store it.

    Raises:
        OptionError: The value is invalid.
    """
    for options in OPTION_CLASSES:
        if name in options.model_fields:
            given = checked_numbers({name: value}, options.model_fields)
            try:
                checked = options.model_validate(with_secrets(given))
            except ValidationError as error:
                raise OptionError(demands(error)) from None
            return getattr(checked, name)
    return value


def checked_numbers(given: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """Return the values of options with Python's numbers; see ``plain_values``.

    Raises:
        OptionError: A value is invalid.
    """
    try:
        return plain_values(given, fields)
    except MlxcelError as error:
        raise OptionError(str(error)) from None
