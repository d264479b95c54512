"""Both frameworks, by one interface."""

from __future__ import annotations

from typing import Any

from tests.adapters.langchain import LangChain
from tests.adapters.llama_index import LlamaIndex

__all__ = ["FRAMEWORKS", "Framework", "Json", "LangChain", "LlamaIndex"]

Json = dict[str, Any]
Framework = LangChain | LlamaIndex
FRAMEWORKS: list[type[Framework]] = [LangChain, LlamaIndex]
