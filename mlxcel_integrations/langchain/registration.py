"""Registration with LangChain: ``init_chat_model`` and ``init_embeddings("mlxcel:...")``."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import MlxcelError

__all__ = ["register_with_langchain"]


CHAT_MODELS_MODULE = "langchain.chat_models.base"
EMBEDDINGS_MODULE = "langchain.embeddings.base"


def register_with_langchain() -> None:
    """Add the provider ``mlxcel`` to LangChain's ``init_chat_model`` and ``init_embeddings``.

    They then take ``"mlxcel:some/model"``, or ``mlxcel`` as the provider, and the options of
    ``ChatMlxcel`` or ``MlxcelEmbeddings``. With ``base_url``, the name chooses one of the models
    served there. May be called more than once.

    Raises:
        MlxcelError: The package ``langchain`` is not installed, or too old or too new for this.
    """
    _providers(CHAT_MODELS_MODULE)["mlxcel"] = (__package__, "ChatMlxcel", _create_model)
    _providers(EMBEDDINGS_MODULE)["mlxcel"] = (__package__, "MlxcelEmbeddings", _create_model)


def _providers(module: str) -> dict[str, Any]:
    """Return LangChain's table of providers, which has no public way to add one."""
    try:
        # They are looked up at every call.
        providers: dict[str, Any] = importlib.import_module(module)._BUILTIN_PROVIDERS
    except ImportError as error:
        raise MlxcelError(
            "init_chat_model belongs to the package langchain, which is not installed: "
            "pip install langchain. ChatMlxcel itself works without it."
        ) from error
    except AttributeError as error:
        raise MlxcelError(
            "This version of the package langchain does not allow new providers; 1.2.10 to 1.5 "
            "do. Use ChatMlxcel(model=...) instead of init_chat_model."
        ) from error
    return providers


def _create_model(cls: type[Any], model: str, **options: Any) -> Any:
    """Make a model for LangChain, which requires a name even in connect mode."""
    if options.get("base_url"):
        return cls(served_model=model, **options)
    return cls(model=model, **options)
