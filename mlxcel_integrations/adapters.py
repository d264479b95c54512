"""What the models of both frameworks have in common: where the model is, and how it is asked."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel, PrivateAttr, field_validator, model_validator

from .async_client import AsyncLLM
from .client import LLM
from .context_manager import ContextManager
from .errors import MlxcelError
from .options import ChatOptions, ConnectionOptions, SamplingParams, ServerOptions, nearest
from .protocol.reasoning import with_reasoning
from .protocol.timeouts import Timeouts
from .secret import hidden, hidden_values, with_secrets
from .transport.connection import Connection
from .transport.tls import TLS

__all__ = ["ChatAdapter", "GenerationAdapter", "ModelAdapter"]


# None of these is built for validation, which takes time: nothing is one of them and no more.
class ModelAdapter(ContextManager, ConnectionOptions, ServerOptions, defer_build=True):
    """A model on this machine, or on a server; the fields, the connection and its life."""

    _connection: Connection = PrivateAttr()
    _llm: LLM = PrivateAttr()
    _async_llm: AsyncLLM = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_names(cls, values: dict[str, Any]) -> dict[str, Any]:
        # A traceback with locals shows what is given to a function.
        values = with_secrets(values)
        for name in values:
            if name not in cls.model_fields:
                near = nearest(name, cls.model_fields)
                hint = f"Did you mean {near!r}?" if near else cls._unknown_name_hint()
                raise MlxcelError(f"{cls.__name__} has no option {name!r}. {hint}")
        return values

    @field_validator(
        "model", "socket", "binary", "verify", "client_cert", "client_key", mode="before"
    )
    @classmethod
    def _take_paths(cls, value: Any) -> Any:
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    @model_validator(mode="after")
    def _set_connection(self) -> Self:
        self._connect()
        return self

    def _connect(self) -> None:
        """Check where the model is; nothing is started or asked yet."""
        self._connection = Connection(
            self.model,
            base_url=self.base_url,
            socket=self.socket,
            api_key=hidden(self.api_key.get_secret_value()) if self.api_key else None,
            default_headers=hidden_values(self.default_headers),
            session=self.session,
            tls=TLS(self.verify, self.client_cert, self.client_key),
            served_model=self.served_model,
            timeouts=Timeouts(
                self.timeout, self.connect_timeout, self.token_timeout, self.total_timeout
            ),
            max_retries=self.max_retries,
            check_context=self._checks_context,
            server_options=self._server_options(),
        )
        self._llm = LLM.over(self._connection)
        self._async_llm = AsyncLLM.over(self._connection)

    @property
    def _checks_context(self) -> bool | None:
        """Whether chats that do not fit are refused, None for the server's own way."""
        return None

    def start(self) -> Self:
        """Start the managed server now instead of on first use; nothing in connect mode.

        Raises:
            MlxcelServerError: It did not start.
        """
        self._llm.start()
        return self

    async def astart(self) -> Self:
        """Start the managed server without blocking the event loop."""
        await self._async_llm.start()
        return self

    def close(self) -> None:
        """Close all connections and give the managed server back; it stops with its last user."""
        self._llm.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop and give the managed server back."""
        await self._async_llm.close()
        self._llm.close()

    def list_models(self) -> list[str]:
        """Return the names of all models that the server has.

        Raises:
            openai.APIError: The server could not be reached.
        """
        return self._llm.models()

    async def alist_models(self) -> list[str]:
        """Return the names of all models that the server has; see ``list_models``."""
        return await self._async_llm.models()

    async def __aenter__(self) -> Self:
        return await self.astart()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return a copy that shares the connection."""
        return self.model_copy()

    def __getstate__(self) -> dict[Any, Any]:
        """Leave out the connection, which is made anew, and the key, which is read again."""
        # LlamaIndex's own takes from this object what it cannot pickle.
        state = BaseModel.__getstate__(self)
        fields = {**state["__dict__"], "api_key": None}
        return {**state, "__dict__": fields, "__pydantic_private__": None}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        BaseModel.__setstate__(self, {**state, "__pydantic_private__": {}})
        self._connect()

    def _server_options(self) -> dict[str, Any]:
        return {
            name: value
            for name, field in ServerOptions.model_fields.items()
            if (value := getattr(self, name)) != field.default
        }

    @classmethod
    def _unknown_name_hint(cls) -> str:
        return f"There are {', '.join(cls.model_fields)}."


class GenerationAdapter(ModelAdapter, SamplingParams):
    """A model that generates, with the fields for that."""

    @classmethod
    def _unknown_name_hint(cls) -> str:
        return "To send it as it is, use extra_body="

    @field_validator("stop", mode="before")
    @classmethod
    def _take_one_stop(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @property
    def _own_sampling(self) -> dict[str, Any]:
        """The sampling fields that the constructor was given."""
        fields = self.__dict__
        return {
            name: fields[name] for name in SamplingParams.model_fields if fields[name] is not None
        }


class ChatAdapter(GenerationAdapter, ChatOptions):
    """A model that answers conversations, with the fields for that."""

    @property
    def _checks_context(self) -> bool | None:
        return self.check_context

    def _with_reasoning(self, sampling: dict[str, Any]) -> dict[str, Any]:
        """Return fields of a request in which the wish to think stands as servers read it."""
        effort = sampling.pop("reasoning_effort", self.reasoning)
        return with_reasoning(sampling, sampling.pop("reasoning", effort))
