"""Settings of a connection: the options of ``LLM`` that are not for the server it starts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, Self

from ..protocol.arguments import as_optional_text, as_path, as_switch, as_whole, checked
from ..protocol.timeouts import Timeouts
from ..secret import Secret
from .tls import TLS, USUAL_TLS

__all__ = ["GROUPS", "ConnectionSettings"]

GROUPS = ("timeouts", "tls", "server_options")
"""Fields of ``ConnectionSettings`` that hold several options."""


class ConnectionSettings(NamedTuple):
    """Everything that a user can set about a connection.

    The attributes are options of ``LLM``, whose docstring describes them, with what checks them;
    secrets are checked where they become headers. Timeouts and the options of TLS are grouped.
    """

    model: Annotated[str | None, as_path] = None
    base_url: Annotated[str | None, as_optional_text] = None
    socket: Annotated[str | None, as_path] = None
    api_key: Secret | None = None
    default_headers: Mapping[str, Secret] | None = None
    session: Annotated[str | None, as_optional_text] = None
    served_model: Annotated[str | None, as_optional_text] = None
    max_retries: Annotated[int, partial(as_whole, least=0)] = 2
    check_context: Annotated[bool | None, as_switch] = None
    merge_messages: Annotated[bool | None, as_switch] = None
    timeouts: Timeouts = Timeouts()
    tls: TLS = USUAL_TLS
    server_options: Mapping[str, Any] = MappingProxyType({})

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Check and group options, which have the names that ``LLM`` gives them.

        Args:
            options: Options of a connection. All others are for the server that is started.

        Raises:
            MlxcelError: One has a type or a value that it cannot have.
        """
        rest = dict(options)
        timeouts, tls = Timeouts.of(**_taken(rest, Timeouts)), TLS.of(**_taken(rest, TLS))
        own = checked(cls, _taken(rest, cls))
        return cls(**own, timeouts=timeouts, tls=tls, server_options=rest)


def _taken(options: dict[str, Any], kind: Any) -> dict[str, Any]:
    """Take those options away that are fields of a class, and return them."""
    names = [name for name in kind._fields if name not in GROUPS]
    return {name: options.pop(name) for name in names if name in options}
