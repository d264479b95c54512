"""Settings of a connection: grouped as they are used, and each option checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations import LLM, MlxcelError
from mlxcel_integrations.protocol.timeouts import Timeouts
from mlxcel_integrations.transport.settings import GROUPS, ConnectionSettings
from mlxcel_integrations.transport.tls import TLS

np = pytest.importorskip("numpy")

OPTIONS = [name for name in ConnectionSettings._fields if name not in GROUPS]


def test_options_are_grouped_and_the_rest_is_for_the_server() -> None:
    found = ConnectionSettings.of(
        {"model": Path("m"), "timeout": 5, "verify": False, "max_retries": np.int64(3), "port": 80}
    )

    expected = ConnectionSettings(
        model="m",
        max_retries=3,
        timeouts=Timeouts(timeout=5.0),
        tls=TLS(verify=False),
        server_options={"port": 80},
    )
    assert expected == found


@pytest.mark.parametrize("name", OPTIONS)
def test_the_default_of_an_option_passes_its_check(name: str) -> None:
    default = ConnectionSettings._field_defaults[name]
    place = f"The check of {name} in transport/settings.py refuses its own default."

    try:
        found = ConnectionSettings.of({name: default})
    except MlxcelError:
        pytest.fail(place)
    assert getattr(found, name) == default


@pytest.mark.parametrize("name", [n for n in OPTIONS if n not in ("api_key", "default_headers")])
def test_a_value_of_another_type_is_refused(name: str) -> None:
    with pytest.raises(MlxcelError, match=f"^{name}="):
        ConnectionSettings.of({"base_url": "http://localhost:1", name: object()})


@pytest.mark.parametrize("name", ["check_context", "merge_messages"])
def test_a_switch_is_true_or_false_of_any_library(name: str) -> None:
    with pytest.raises(MlxcelError, match=rf"^{name}='no' must be True or False, not str\.$"):
        LLM(base_url="http://localhost:1", **{name: "no"})

    switches: list[Any] = [None, True, False, np.True_]
    found = [getattr(ConnectionSettings.of({name: value}), name) for value in switches]
    assert [None, True, False, True] == found
    assert type(found[-1]) is bool
