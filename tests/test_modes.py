"""Managed or connect mode: which one the arguments and the environment choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.modes import resolve_mode
from mlxcel_integrations.transport.endpoint import Endpoint

MANAGED, URL, SOCKET = "org/model", "http://h:1", "/run/x.sock"
AT_URL, AT_SOCKET = Endpoint(URL), Endpoint("http://localhost", SOCKET)
ALL = {"MLXCEL_BASE_URL": URL, "MLXCEL_SOCKET": SOCKET, "MLXCEL_MODEL": MANAGED}


@pytest.mark.parametrize(
    ("given", "environment", "model", "endpoint"),
    [
        ((MANAGED, None, None), {}, MANAGED, None),
        ((MANAGED, None, SOCKET), {}, MANAGED, None),
        ((None, URL, None), {}, None, AT_URL),
        ((None, f"{URL}/v1", None), {}, None, AT_URL),
        ((None, f"unix://{SOCKET}", None), {}, None, AT_SOCKET),
        ((None, None, SOCKET), {}, None, AT_SOCKET),
        ((None, None, Path(SOCKET)), {}, None, AT_SOCKET),
        (("embedded", None, None), ALL, "embedded", None),
        ((None, None, SOCKET), ALL, None, AT_SOCKET),
        ((None, None, None), ALL, None, AT_URL),
        ((None, None, None), {**ALL, "MLXCEL_BASE_URL": ""}, None, AT_SOCKET),
        ((None, None, None), {"MLXCEL_MODEL": MANAGED}, MANAGED, None),
    ],
)
def test_modes(
    given: tuple[Any, ...], environment: dict[str, str], model: str | None, endpoint: Any
) -> None:
    mode = resolve_mode(*given, environment)

    assert (model, endpoint) == (mode.model, mode.endpoint)


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ((MANAGED, URL, None), ["model='org/model'", "base_url='http://h:1'", "served_model="]),
        ((MANAGED, URL, SOCKET), ["Drop base_url="]),
        ((None, URL, SOCKET), ["base_url='http://h:1'", "socket='/run/x.sock'", "Drop the one"]),
        ((None, None, None), ["model=", "base_url=", "socket=", '"embedded"', "MLXCEL_BASE_URL"]),
        (("", None, None), ["model= is empty"]),
        ((" ", None, None), ["model= is empty"]),
        ((None, "", None), ["not an address"]),
    ],
)
def test_too_much_or_nothing_says_what_to_drop(given: tuple[Any, ...], parts: list[str]) -> None:
    with pytest.raises(MlxcelError) as caught:
        resolve_mode(*given, {})

    assert [] == [part for part in parts if part not in str(caught.value)]


def test_a_local_model_means_the_same_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.gguf").touch()
    (tmp_path / "embedded").mkdir()

    names = ("m.gguf", Path("m.gguf"), "embedded", "other.gguf")

    assert [str(tmp_path / "m.gguf")] * 2 + ["embedded", "other.gguf"] == [
        resolve_mode(name, None, None, {}).model for name in names
    ]
