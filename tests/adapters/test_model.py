"""Base of all adapters, without a framework: options, changes of them, copies and pickles."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.adapters.generation import ChatAdapter
from mlxcel_integrations.adapters.model import ModelAdapter

URL, OTHER = "http://localhost:1", "http://localhost:2"


def adapter(**options: Any) -> ModelAdapter:
    return ModelAdapter(**{"base_url": URL, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_ulr": URL}, "has no option 'base_ulr'. Did you mean 'base_url'"),
        ({"timeout": "soon"}, "timeout="),
        ({"model": "m"}, "Both model='m' and base_url="),
        ({"ctx_size": 5}, "ctx_size= can only be set for a server that is started here"),
    ],
)
def test_an_option_that_cannot_be_is_refused_in_one_line(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MlxcelError) as raised:
        adapter(**options)

    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("given", ["gemma", URL])
def test_the_model_is_given_by_name(given: str) -> None:
    with pytest.raises(MlxcelError, match=r"takes its options by name, such as (model|base_url)="):
        ModelAdapter(given)


@pytest.mark.parametrize(
    ("change", "shared"),
    [({"timeout": 5.0}, False), ({"base_url": OTHER}, False), ({}, True)],
)
def test_a_copy_shares_the_connection_unless_an_option_of_it_changes(
    change: dict[str, Any], shared: bool
) -> None:
    original = adapter()
    copied = original.model_copy(update=change)

    assert shared == (copied._connection is original._connection)
    assert URL == original._connection.endpoint.url
    assert change.get("base_url", URL) == copied._connection.endpoint.url


def test_an_option_that_is_set_holds_for_the_next_request() -> None:
    model = ChatAdapter(base_url=URL, temperature=0.5)
    connection = model._connection
    assert {"temperature": 0.5} == model._chat_fields({})

    model.temperature = 1.0
    assert {"temperature": 1.0} == model._chat_fields({})
    assert connection is model._connection

    model.base_url = OTHER
    assert OTHER == model._connection.endpoint.url
    assert model._connection is model._llm._connection is model._async_llm._connection


def test_options_that_only_fit_together_may_be_set_one_after_the_other() -> None:
    model = adapter()
    model.socket = "/tmp/a.sock"
    with pytest.raises(MlxcelError, match="Both base_url="):
        _ = model._connection

    model.base_url = None
    assert "unix:///tmp/a.sock" == str(model._connection.endpoint)


@pytest.mark.parametrize("travel", [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy])
def test_an_adapter_that_has_travelled_connects_to_the_same_server(travel: Any) -> None:
    original = adapter(timeout=5.0, api_key="secret")
    arrived = travel(original)

    assert URL == arrived._connection.endpoint.url
    assert 5.0 == arrived._connection.timeouts.timeout
    assert b"secret" not in pickle.dumps(original)


def test_a_repr_shows_what_was_given_but_no_key() -> None:
    model = ChatAdapter(
        base_url=URL, api_key="secret", temperature=0.5, extra_body={"a": 1, "b": "secret"}
    )

    shown = repr(model)
    assert shown.startswith(f"ChatAdapter(base_url='{URL}', temperature=0.5, extra_body=")
    assert "secret" not in shown


def test_the_usual_options_come_first() -> None:
    assert ["model", "temperature", "max_tokens"] == [*ChatAdapter.model_fields][:3]
