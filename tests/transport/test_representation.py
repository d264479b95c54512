"""How objects look in a terminal and in a notebook."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.load import dumpd

from mlxcel_integrations import LLM, AsyncLLM, ManagedServer
from mlxcel_integrations.embedded.model import locate_model
from mlxcel_integrations.langchain import ChatMlxcel, MlxcelEmbeddings, MlxcelLLM
from mlxcel_integrations.langchain import MlxcelRerank as LangChainRerank
from mlxcel_integrations.llama_index import Mlxcel, MlxcelEmbedding
from mlxcel_integrations.llama_index import MlxcelRerank as LlamaIndexRerank
from tests.fakes.server import FakeServer

KEY = "hunter2-hunter2"
NOBODY = "http://127.0.0.1:9"
MODELS: list[type[Any]] = [
    LLM,
    AsyncLLM,
    ChatMlxcel,
    MlxcelLLM,
    MlxcelEmbeddings,
    LangChainRerank,
    Mlxcel,
    MlxcelEmbedding,
    LlamaIndexRerank,
]
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda kind: kind.__module__)


@pytest.fixture(autouse=True)
def _no_server_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLXCEL_BASE_URL", "MLXCEL_SOCKET", "MLXCEL_MODEL"):
        monkeypatch.delenv(name, raising=False)


@every_model
@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"model": "embedded"}, "model='embedded', server='stopped'"),
        (
            {"timeout": 3, "parallel": 2, "model": "embedded"},
            "model='embedded', timeout=3.0, parallel=2, server='stopped'",
        ),
        ({"model": "embedded", "max_retries": 2}, "model='embedded', server='stopped'"),
        ({"base_url": NOBODY}, f"base_url='{NOBODY}'"),
        ({"socket": "/s.sock", "served_model": "a"}, "socket='/s.sock', served_model='a'"),
        (
            {"base_url": NOBODY, "api_key": KEY, "default_headers": {"X-Key": KEY}},
            f"base_url='{NOBODY}'",
        ),
        ({"base_url": NOBODY, "api_key": KEY, "served_model": f"my {KEY}"}, None),
    ],
    ids=str,
)
def test_a_line_shows_what_was_given_and_the_state_but_no_key(
    model: type[Any], options: dict[str, Any], shown: str | None
) -> None:
    line = repr(model(**options))

    assert KEY not in line
    if shown is not None:
        assert f"{model.__name__}({shown})" == line


@every_model
@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        ("MLXCEL_BASE_URL", NOBODY, f"base_url='{NOBODY}'"),
        ("MLXCEL_SOCKET", "/s.sock", "base_url='unix:///s.sock'"),
        ("MLXCEL_MODEL", "org/m", "model='org/m', server='stopped'"),
    ],
)
def test_a_line_shows_the_server_that_a_variable_names(
    model: type[Any], variable: str, value: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    assert f"{model.__name__}({shown})" == repr(model())


@pytest.mark.parametrize("model", [LLM, ChatMlxcel, Mlxcel])
def test_what_was_closed_says_so(model: type[Any]) -> None:
    for options in ({"model": "embedded"}, {"base_url": NOBODY}):
        closed = model(**options)
        closed.close()
        assert "server='closed')" in repr(closed)
        assert "closed" in closed._repr_html_()


def test_options_of_an_answer_are_shown_as_well() -> None:
    chat = ChatMlxcel(model="embedded", temperature=0.2, stop=["a"])
    line = "ChatMlxcel(model='embedded', temperature=0.2, stop=['a'], server='stopped')"
    assert line == repr(chat)
    chat = ChatMlxcel(base_url=NOBODY, extra_body={"key": KEY, "more": {"key": KEY}, "id_slot": 1})
    shown = "extra_body={'key': '***', 'more': '***', 'id_slot': 1}"
    assert f"ChatMlxcel(base_url='{NOBODY}', {shown})" == repr(chat)
    llm = Mlxcel(base_url=NOBODY, context_window=512)
    assert f"Mlxcel(base_url='{NOBODY}', context_window=512)" == repr(llm)


def test_a_managed_server_shows_its_state() -> None:
    server = ManagedServer("embedded", ctx_size=1024, api_key=KEY)

    line = "ManagedServer(model='embedded', ctx_size=1024, state='stopped', pid=None)"
    assert line == repr(server)
    assert ["stopped", "embedded"] == _values(server)


@pytest.mark.parametrize("make", [LLM, AsyncLLM, ChatMlxcel, Mlxcel])
def test_a_notebook_shows_what_is_known_before_a_start(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 40960}')
    options = {"ctx_size": 4096, "parallel": 2}
    stopped = "stopped: starts with the first request"

    by_files = make(model=str(tmp_path))
    assert [stopped, str(tmp_path), "up to 40,960 tokens"] == _values(by_files)
    by_options = make(model="embedded", **options)
    assert [stopped, "embedded", "4,096 tokens for all slots", "2"] == _values(by_options)
    assert [stopped, "embedded"] == _values(make(model="embedded"))
    by_header = _values(make(model=str(locate_model("embedded"))))
    assert "up to 32,768 tokens" == by_header[-1]


@pytest.mark.parametrize("make", [LLM, ChatMlxcel, MlxcelLLM, Mlxcel])
def test_a_notebook_shows_what_is_known_of_the_server(make: Callable[..., Any]) -> None:
    with FakeServer("newest") as server, make(base_url=server.url) as model:
        assert [server.url] == _values(model)
        features = model.features if isinstance(model, LLM) else model._llm.features
        asked = len(server.requests)

        known = [f"{features.context_size:,} tokens", str(features.slots)]
        assert ([server.url], known) == (_values(model)[:1], _values(model)[-2:])
        assert asked == len(server.requests)


def test_a_notebook_gets_no_markup_from_a_name() -> None:
    html = LLM(base_url=NOBODY, served_model="<script>&")._repr_html_()

    assert html is not None
    assert "<script>" not in html
    assert "&lt;script&gt;&amp;" in html


@every_model
def test_an_object_that_is_half_made_has_a_line_and_no_table(model: type[Any]) -> None:
    half = model.__new__(model)

    assert f"{model.__name__}()" == repr(half)
    assert half._repr_html_() is None


@pytest.mark.parametrize("model", [ChatMlxcel, MlxcelLLM])
def test_the_state_is_part_of_neither_cache_keys_nor_dumps(model: type[Any]) -> None:
    llm = model(model="embedded", temperature=0.2)
    before = (llm._get_llm_string(), json.dumps(dumpd(llm))) if model is ChatMlxcel else str(llm)
    assert "stopped" in repr(llm)
    llm.close()

    after = (llm._get_llm_string(), json.dumps(dumpd(llm))) if model is ChatMlxcel else str(llm)
    assert before == after


def _values(thing: Any) -> list[str]:
    """Return the cells of the table that a notebook shows."""
    cells = thing._repr_html_().split("<td style='text-align:left'>")[1:]
    return [cell.partition("</td>")[0] for cell in cells]
