"""Settings of a connection: the options of ``LLM`` that are not for the server it starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from ..protocol.arguments import as_optional_text, as_path, as_switch, as_whole
from ..protocol.timeouts import Timeouts
from ..secret import Secret
from .tls import TLS, USUAL_TLS

__all__ = ["CHECKS", "GROUPS", "ConnectionSettings"]

GROUPS = ("timeouts", "tls", "server_options")
"""Fields of ``ConnectionSettings`` that hold several options."""


class ConnectionSettings(NamedTuple):
    """Everything that a user can set about a connection.

    The attributes are options of ``LLM``, whose docstring describes them; those of timeouts and of
    TLS are grouped.
    """

    model: str | None = None
    base_url: str | None = None
    socket: str | None = None
    api_key: Secret | None = None
    default_headers: Mapping[str, Secret] | None = None
    session: str | None = None
    served_model: str | None = None
    max_retries: int = 2
    check_context: bool | None = None
    merge_messages: bool | None = None
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
        own = {name: _checked(name, value) for name, value in _taken(rest, cls).items()}
        return cls(**own, timeouts=timeouts, tls=tls, server_options=rest)


def _as_count(name: str, value: Any) -> int:
    return as_whole(name, value, least=0)


def _as_it_is(name: str, value: Any) -> Any:
    """Return a secret, or secrets, which are checked where they become headers."""
    return value


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "model": as_path,
    "socket": as_path,
    "api_key": _as_it_is,
    "default_headers": _as_it_is,
    "max_retries": _as_count,
    "check_context": as_switch,
    "merge_messages": as_switch,
}
"""What checks the values of options that are not plain text."""


def _checked(name: str, value: Any) -> Any:
    check: Callable[[str, Any], Any] = CHECKS.get(name, as_optional_text)
    return check(name, value)


def _taken(options: dict[str, Any], kind: Any) -> dict[str, Any]:
    """Take those options away that are fields of a class, and return them."""
    names = [name for name in kind._fields if name not in GROUPS]
    return {name: options.pop(name) for name in names if name in options}
