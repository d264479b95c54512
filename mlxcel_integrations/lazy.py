"""Public names that are loaded on first use, so that importing a package takes no time."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["loaded_on_use"]


def loaded_on_use(
    package: str, homes: Mapping[str, str], extra: str = ""
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and the ``__dir__`` of a package.

    Args:
        package: Its name.
        homes: The module of each public name.
        extra: The extra that installs what these modules import.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            module = importlib.import_module(f"{package}.{homes[name]}")
        except ModuleNotFoundError as error:
            if not extra or error.name is None or error.name.startswith(f"{package}."):
                raise
            raise _not_installed(package, error.name, extra) from None
        value = getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted(sys.modules[package].__all__)

    return load, names


def _not_installed(package: str, missing: str, extra: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(
        f"{package} needs {missing}, which is not installed. Run: "
        f"pip install 'mlxcel-integrations[{extra}]'.",
        name=missing,
    )
