"""Secrets: keys and header values that no repr, traceback or pickle shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Secret", "hidden", "hidden_values", "with_secrets"]


class Secret:
    """A key that no repr, no traceback with locals and no pickle shows.

    Args:
        value: The key.

    Attributes:
        reveal: Returns the key. Do not put it into a variable: a traceback would show that.
    """

    __slots__ = ("reveal",)

    def __init__(self, value: str) -> None:
        # In a closure, where nothing that walks through attributes finds it.
        self.reveal: Callable[[], str] = lambda: value

    def __repr__(self) -> str:
        return "Secret('***')"


def hidden(key: str | Secret | None) -> Secret | None:
    """Return a key as a secret, without the line end that keys from files have."""
    if isinstance(key, Secret):
        return key
    return Secret(key.strip()) if key else None


def hidden_values(values: Mapping[str, Any] | None) -> dict[str, Secret]:
    """Return a dictionary with its values, strings or secrets of Pydantic, as secrets."""
    return {
        name: Secret(value.get_secret_value() if hasattr(value, "get_secret_value") else value)
        for name, value in (values or {}).items()
    }


def with_secrets(options: dict[str, Any]) -> dict[str, Any]:
    """Return options of a Pydantic model with the key and the values of headers as secrets."""
    # Imported here since the clients do without Pydantic.
    from pydantic import SecretStr

    if isinstance(options.get("api_key"), str):
        options = {**options, "api_key": SecretStr(options["api_key"])}
    if isinstance(options.get("default_headers"), dict):
        shown = options["default_headers"].items()
        headers = {name: SecretStr(v) if isinstance(v, str) else v for name, v in shown}
        options = {**options, "default_headers": headers}
    return options
