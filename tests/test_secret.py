"""A key is shown by nothing that shows what surrounds it."""

from __future__ import annotations

import copy
import pickle
import pprint

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
