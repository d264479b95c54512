"""Headers of a user's own: what may be sent, and what a balancer's header tells."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.protocol.headers import check_headers, check_session
from mlxcel_integrations.secret import Secret


def secrets(**headers: Any) -> dict[str, Secret]:
    return {name.replace("_", "-"): Secret(value) for name, value in headers.items()}


@pytest.mark.parametrize(
    "headers",
    [{}, secrets(X_Tenant="a b~"), secrets(x="", y="1"), {"a!#$%&'*+.^_`|~-9Z": Secret("v")}],
)
def test_headers_that_can_be_sent(headers: dict[str, Secret]) -> None:
    check_headers(headers)


NAMES = "use letters, digits and dashes."


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"": Secret("v")}, f"default_headers= has the invalid name '': {NAMES}"),
        ({"a b": Secret("v")}, f"default_headers= has the invalid name 'a b': {NAMES}"),
        ({"a\n": Secret("v")}, f"default_headers= has the invalid name 'a\\n': {NAMES}"),
        (
            secrets(AUTHORIZATION="v"),
            "default_headers= has Authorization: pass the key as api_key=.",
        ),
        *(
            (
                secrets(**{name: "v"}),
                f"default_headers= has {name!r}, which is set automatically: leave it",
            )
            for name in (
                "Content-Type",
                "content-length",
                "Transfer-Encoding",
                "connection",
                "HOST",
                "Accept-Encoding",
            )
        ),
        (secrets(n=3), "The value of 'n' in default_headers= is not a string."),
        *(
            (
                secrets(good="v", n=bad),
                "The value of 'n' in default_headers= has characters that no header can contain: "
                "use ASCII without line breaks.",
            )
            for bad in ("hidden\n", "hidden\r\nx: y", "hidden\0", "hiddenö")
        ),
    ],
)
def test_headers_that_cannot_be_sent_are_refused_without_their_value(
    headers: dict[str, Secret], message: str
) -> None:
    with pytest.raises(MlxcelError, match=f"^{re.escape(message)}") as caught:
        check_headers(headers)

    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("session", [None, "chat 7", "~"])
def test_names_of_conversations(session: str | None) -> None:
    assert session == check_session(session)


@pytest.mark.parametrize("session", ["", "  ", "a\n", "ü", 3, b"a"])
def test_names_that_no_header_takes(session: object) -> None:
    with pytest.raises(MlxcelError) as caught:
        check_session(session)

    assert (
        f"session={session!r} cannot be sent in a header: pass the name of a conversation in "
        "ASCII, without line breaks."
    ) == str(caught.value)
