"""Request headers of the user, sessions, and the name of the server that answered."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import MlxcelError
from ..secret import Secret

__all__ = ["SERVED_BY", "SESSION", "check_headers", "check_session"]

SESSION = "x-session-id"
"""Names a conversation, for balancers; ``x-conversation-id`` means something else to mlxcel."""

SERVED_BY = "x-served-by"
"""Names the server behind a balancer that answers."""

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"

_RESERVED = {"content-type", "content-length", "transfer-encoding", "connection", "host"} | {
    "accept-encoding"
}
"""Headers that are set here: with other values, answers could not be read."""


def check_headers(headers: Mapping[str, Secret]) -> None:
    """Check that headers can be sent with every request.

    Raises:
        MlxcelError: One cannot; the message does not show its value.
    """
    for name, value in headers.items():
        if not re.fullmatch(_NAME, name):
            raise MlxcelError(
                f"default_headers= has the invalid name {name!r}: use letters, digits and dashes."
            )
        if name.lower() == "authorization":
            raise MlxcelError("default_headers= has Authorization: pass the key as api_key=.")
        if name.lower() in _RESERVED:
            raise MlxcelError(
                f"default_headers= has {name!r}, which is set automatically: leave it out."
            )
        if not isinstance(value.reveal(), str):
            raise MlxcelError(f"The value of {name!r} in default_headers= is not a string.")
        if not _can_be_sent(value.reveal()):
            raise MlxcelError(
                f"The value of {name!r} in default_headers= has characters that no header can "
                "contain: use ASCII without line breaks."
            )


def check_session(session: object) -> str | None:
    """Return the name of a conversation, None if none is given.

    Raises:
        MlxcelError: It cannot be sent in a header.
    """
    if session is None:
        return None
    if not isinstance(session, str) or not session.strip() or not _can_be_sent(session):
        raise MlxcelError(
            f"session={session!r} cannot be sent in a header: pass the name of a conversation in "
            "ASCII, without line breaks."
        )
    return session


def _can_be_sent(text: str) -> bool:
    return text.isascii() and text.isprintable()
