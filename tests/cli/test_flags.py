"""Options of Python in messages become those of the command line."""

from __future__ import annotations

import pytest

from mlxcel_integrations.cli.flags import in_flags


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Pass base_url= for a server.", "Pass --base-url for a server."),
        ('or try model="embedded" (x).', "or try --model embedded (x)."),
        ("model='http://h:1' is an address", "--model http://h:1 is an address"),
        ("model='two words' is one", "--model 'two words' is one"),
        ("drop model= to use it, or choose another port=.", "drop --model to use it, or choose"),
        ("keep_alive= and embedding_model= need mlxcel", "--keep and --embedding-model need mlx"),
        ("served_model= out; timeout=5", "served_model= out; timeout=5"),
        ("It said:\n  | model= is loaded", "It said:\n  | model= is loaded"),
    ],
)
def test_options_become_flags(message: str, expected: str) -> None:
    assert in_flags(message).startswith(expected)
