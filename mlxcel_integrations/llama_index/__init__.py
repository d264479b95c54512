"""mlxcel in LlamaIndex.

The names below are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import loaded_on_use

if TYPE_CHECKING:
    from .embeddings import MlxcelEmbedding
    from .llm import Mlxcel
    from .prompt_progress import PromptProgressEvent
    from .rerank import MlxcelRerank
    from .selector import MlxcelSelector
    from .tokenizer import MlxcelTokenizer

__all__ = [
    "Mlxcel",
    "MlxcelEmbedding",
    "MlxcelRerank",
    "MlxcelSelector",
    "MlxcelTokenizer",
    "PromptProgressEvent",
]

_HOMES = {
    "Mlxcel": "llm",
    "MlxcelEmbedding": "embeddings",
    "MlxcelRerank": "rerank",
    "MlxcelSelector": "selector",
    "MlxcelTokenizer": "tokenizer",
    "PromptProgressEvent": "prompt_progress",
}
__getattr__, __dir__ = loaded_on_use(__name__, _HOMES, extra="llama-index")
