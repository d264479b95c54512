"""Headers of a user's own: what may be sent along, and which server an answer names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import MlxcelError
from ..secret import Secret

__all__ = ["SESSION", "check_headers", "check_session", "served_by"]

SESSION = "x-session-id"
"""Names a conversation, for balancers; ``x-conversation-id`` means something else to mlxcel."""

SERVED_BY = "x-served-by"

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_OURS = {"content-type", "content-length", "transfer-encoding", "connection", "host"} | {
    "accept-encoding"
}
"""Headers on which it depends whether an answer can be read."""


def check_headers(headers: Mapping[str, Secret]) -> None:
    """Check that headers can be sent along with every request.

    Raises:
        MlxcelError: One cannot; its value is not shown.
    """
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise MlxcelError(
                f"default_headers= has the name {name!r}: names of headers have letters, digits "
                "and dashes."
            )
        if name.lower() == "authorization":
            raise MlxcelError("default_headers= has Authorization: pass the key as api_key=.")
        if name.lower() in _OURS:
            raise MlxcelError(f"default_headers= has {name!r}, which is set here: leave it out.")
        if not isinstance(value.reveal(), str):
            raise MlxcelError(f"The value of {name!r} in default_headers= is no text.")
        if not _can_be_sent(value.reveal()):
            raise MlxcelError(
                f"The value of {name!r} in default_headers= has characters that no header can "
                "have: use ASCII without line ends."
            )


def check_session(session: object) -> str | None:
    """Return the name of a conversation, None if there is none.

    Raises:
        MlxcelError: It cannot be sent in a header.
    """
    if session is None:
        return None
    if not isinstance(session, str) or not session.strip() or not _can_be_sent(session):
        raise MlxcelError(
            f"session={session!r} cannot be sent in a header: pass the name of a conversation in "
            "ASCII, without line ends."
        )
    return session


def served_by(headers: Mapping[str, str]) -> str | None:
    """Return the server behind a balancer that answered, None if no header tells it."""
    return headers.get(SERVED_BY, "")[:80] or None


def _can_be_sent(text: str) -> bool:
    return text.isascii() and text.isprintable()
