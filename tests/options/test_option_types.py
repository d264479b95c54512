"""Options that are given as one type and stored as another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from mlxcel_integrations.options.fields import ConnectionOptions


@pytest.mark.parametrize(
    ("name", "given", "stored"),
    [
        ("model", Path("m.gguf"), "m.gguf"),
        ("socket", Path("a.sock"), "a.sock"),
        ("client_cert", Path("c.pem"), "c.pem"),
        ("client_key", Path("k.pem"), "k.pem"),
        ("verify", Path("ca.pem"), "ca.pem"),
        ("verify", False, False),
        ("api_key", "key", SecretStr("key")),
        ("default_headers", {"x-team": "blue"}, {"x-team": SecretStr("blue")}),
    ],
)
def test_an_option_is_stored_as_its_field_says(name: str, given: Any, stored: Any) -> None:
    options = ConnectionOptions(**{name: given})

    assert stored == getattr(options, name)
    assert type(stored) is type(getattr(options, name))
