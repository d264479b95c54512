"""A key is shown by nothing that shows what surrounds it."""

from __future__ import annotations

import copy
import html
import pickle
import pprint
from collections.abc import Callable

import pytest

from mlxcel_integrations.secret import Secret, hidden, hidden_values, redacted


def test_only_reveal_shows_a_key() -> None:
    secret = hidden("sk-1\n")

    assert secret is not None
    assert "sk-1" == secret.reveal() == copy.deepcopy(secret).reveal()
    shown = [repr(secret), str(secret), f"{secret}", pprint.pformat({"key": secret})]
    assert not [text for text in shown if "sk-1" in text]
    assert "sk-1" not in repr([getattr(secret, name) for name in Secret.__slots__])


def test_a_key_is_not_pickled() -> None:
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        pickle.dumps(hidden("sk-1"))


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_key_is_no_secret(nothing: str | None) -> None:
    assert hidden(nothing) is None


def test_a_header_of_a_wrong_type_keeps_no_other_text_from_being_searched() -> None:
    wrong = hidden_values({"x-team": ["a", "list"]})

    assert "said ***" == redacted("said wonderland", Secret("wonderland"))
    assert ["x-team"] == list(wrong)


SPELLED: dict[str, Callable[[int], str]] = {
    "as it is": chr,
    "percent-encoded": "%{:02x}".format,
    "percent-encoded twice": "%25{:02X}".format,
    "escaped in JSON": "\\u{:04x}".format,
    "escaped in Python": "\\x{:02x}".format,
    "entities": "&#0{};".format,
    "hexadecimal entities": "&#x{:X};".format,
    "named entities": lambda code: html.escape(chr(code)),
}


@pytest.mark.parametrize("form", SPELLED)
def test_a_line_may_end_anywhere_in_a_key(form: str) -> None:
    key = "sk-<9'a&b"
    secret, spelled = hidden(key), "".join(map(SPELLED[form], key.encode()))
    shown = {redacted(f"[{spelled[:at]}\n  {spelled[at:]}]") for at in range(len(spelled))}

    assert secret is not None
    assert {"[***]", "[***\n***]", "[\n  ***]"} >= shown
