"""What tells one model from another in LangChain: for caches, traces and ``dumpd``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.language_models import LangSmithParams

from ..options import LIFECYCLE_FIELDS
from .content_blocks import PROVIDER

if TYPE_CHECKING:
    from ..transport.connection import Connection

__all__ = ["Identified"]


class Identified:
    """A model with a name, a key that is kept secret, and all that decides its answers.

    No Pydantic class of its own: building one more would slow the import.
    """

    if TYPE_CHECKING:
        model: str | None
        served_model: str | None
        _connection: Connection
        _own_sampling: dict[str, Any]

        def _server_options(self) -> dict[str, Any]: ...

    def _sampling(self, stop: list[str] | None, call: dict[str, Any]) -> dict[str, Any]:
        """Put the fields of a request together: a call's beat the constructor's."""
        sampling = {**self._own_sampling, **call}
        for name in _NOT_SENT:
            sampling.pop(name, None)
        if stop is not None:
            sampling["stop"] = stop
        return sampling

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """What decides an answer, and so is part of a cache key: which model, and how it samples.

        How patiently it is waited for does not.
        """
        return {
            "model": self.model,
            "address": repr(self._connection),
            "served_model": self.served_model,
            **{
                name: v
                for name, v in self._server_options().items()
                if name not in LIFECYCLE_FIELDS
            },
            **self._own_sampling,
        }

    def _named(self, params: LangSmithParams) -> LangSmithParams:
        """Put provider and model into what LangSmith is told."""
        params["ls_provider"] = PROVIDER
        if not params.get("ls_model_name"):
            params["ls_model_name"] = self._connection.model_name or repr(self._connection)
        return params

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The key, which ``dumpd`` writes as a reference to the environment."""
        return {"api_key": "MLXCEL_API_KEY"}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Tell that ``dumpd`` and ``load`` work."""
        return True


_NOT_SENT = ("stream", "stream_usage", "streaming")
"""Keywords that LangChain passes through, which are no fields of a request."""
