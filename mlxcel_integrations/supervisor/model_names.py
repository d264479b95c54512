"""Names of models that were not found, and the names that the user may have meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from ..embedded import BUILT_IN_MODEL
from .model_store import DEFAULT_OWNER

__all__ = ["similar_names", "suggestion"]

# Only digits after the colon would be a port.
_OLLAMA_NAME = re.compile(r"[\w.-]+(/[\w.-]+)*:(?!\d+$)[\w.-]+")


def similar_names(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names that a name resembles, the most similar first.

    Case does not count, and a name without an owner is compared with the others without theirs.
    """
    keys: dict[str, str] = {}
    for candidate in known:
        if candidate != name:
            keys.setdefault(candidate.lower(), candidate)
            if "/" not in name:
                keys.setdefault(candidate.lower().rpartition("/")[2], candidate)
    near = difflib.get_close_matches(name.lower(), keys, n=3, cutoff=0.8)
    return list(dict.fromkeys(keys[key] for key in near))


def suggestion(name: str, known: Iterable[str] = ()) -> str:
    """Return a sentence that suggests what a model's name may stand for; "" if nothing is similar.

    Args:
        name: The name.
        known: The models that mlxcel has on this machine.
    """
    here = similar_names(name, known)
    if here:
        return f"Did you mean {' or '.join(map(repr, here))}, which mlxcel has on this machine?"
    if similar_names(name, [BUILT_IN_MODEL]):
        return f"Did you mean {BUILT_IN_MODEL!r}, the small built-in model?"
    if _OLLAMA_NAME.fullmatch(name):
        return (
            f"{name!r} is the name of an Ollama model: use a repository id, such as "
            f"'{DEFAULT_OWNER}/Qwen3-4B-4bit', or the path of a .gguf file."
        )
    owner, slash, rest = name.partition("/")
    if slash and "/" not in rest and similar_names(owner, [DEFAULT_OWNER]):
        return f"Did you mean {f'{DEFAULT_OWNER}/{rest}'!r}?"
    return ""
