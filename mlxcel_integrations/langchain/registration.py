"""Registration with LangChain, for ``init_chat_model("mlxcel:...")``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..errors import MlxcelError

if TYPE_CHECKING:
    from .chat_models import ChatMlxcel

__all__ = ["register_with_langchain"]


def register_with_langchain() -> None:
    """Make LangChain's ``init_chat_model`` know the provider ``mlxcel``.

    It then takes ``"mlxcel:some/model"``, or ``model_provider="mlxcel"``, and the options of
    ``ChatMlxcel``. With ``base_url``, the model is the one to use of those served there.
    May be called more than once.

    Raises:
        MlxcelError: The package ``langchain`` is not installed, or too old or too new for this.
    """
    try:
        # LangChain has no public way to add a provider, but looks here at every call.
        providers = importlib.import_module("langchain.chat_models.base")._BUILTIN_PROVIDERS
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
    providers["mlxcel"] = (__package__, "ChatMlxcel", _create)


def _create(cls: type[ChatMlxcel], model: str, **options: Any) -> ChatMlxcel:
    """Make a model for ``init_chat_model``, which requires a name even in connect mode."""
    if options.get("base_url"):
        return cls(served_model=model, **options)
    return cls(model=model, **options)
