"""mlxcel in LlamaIndex.

The names below are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import loaded_on_use

if TYPE_CHECKING:
    from .llm import Mlxcel
    from .tokenizer import MlxcelTokenizer

__all__ = ["Mlxcel", "MlxcelTokenizer"]

__getattr__, __dir__ = loaded_on_use(__name__, {"Mlxcel": "llm", "MlxcelTokenizer": "tokenizer"})
