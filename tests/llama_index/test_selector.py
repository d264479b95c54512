"""`MlxcelSelector` against a scripted server, and on the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.query_engine import CustomQueryEngine, RouterQueryEngine
from llama_index.core.tools import QueryEngineTool, ToolMetadata

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.llama_index import Mlxcel, MlxcelSelector
from tests.fakes.decider import Decider
from tests.fakes.server import FakeServer

Call = Callable[..., Any]
TEXTS = ["Invoices and payments", "Rivers of the world"]
NAMED = [
    ToolMetadata(text, name=name) for text, name in zip(TEXTS, ["money", "rivers"], strict=True)
]
TWINS = [ToolMetadata(text, name="same") for text in TEXTS]


@pytest.mark.parametrize(
    ("choices", "labels"),
    [(TEXTS, ["1", "2"]), (NAMED, ["money", "rivers"]), (TWINS, ["1", "2"])],
    ids=["texts", "names", "the same name"],
)
@pytest.mark.parametrize("way", ["select", "aselect"])
async def test_the_most_likely_choice_is_selected(
    server: FakeServer, choices: list[Any], labels: list[str], way: str
) -> None:
    server.script(Decider(dict(zip(labels, [0.2, 0.8], strict=True))).reply())
    selector = MlxcelSelector(Mlxcel(base_url=server.url))
    selected = getattr(selector, way)(choices, "Which river is long?")
    if way == "aselect":
        selected = await selected

    assert (1, "probability 0.80") == (selected.ind, selected.reason)
    asked = server.posts[-1].json["messages"][-1]["content"]
    assert asked.startswith(f"Choices:\n- {labels[0]}: Invoices and payments\n")
    assert "\n\nQuestion: Which river is long?\n" in asked


def test_a_prior_is_measured_with_the_same_choices(server: FakeServer) -> None:
    server.script(Decider({"1": 0.6, "2": 0.4}).reply(), Decider({"1": 0.9, "2": 0.1}).reply())
    selected = MlxcelSelector(Mlxcel(base_url=server.url), calibrate=True).select(TEXTS, "Which?")

    assert 1 == selected.ind
    assert "Question: N/A\n" in server.posts[-1].json["messages"][-1]["content"]


@pytest.mark.parametrize("way", ["select", "aselect"])
async def test_the_choice_with_the_nearest_description_is_selected(
    server: FakeServer, way: str
) -> None:
    server.models = [{"id": "e", "capabilities": ["embedding"]}]
    selector = MlxcelSelector(Mlxcel(base_url=server.url), by_embeddings=True)
    selected = getattr(selector, way)(NAMED, TEXTS[1])
    if way == "aselect":
        selected = await selected

    assert 1 == selected.ind
    assert "/v1/embeddings" in {seen.path for seen in server.requests}
    assert not server.posts


def test_embeddings_have_no_prior(server: FakeServer) -> None:
    with pytest.raises(MlxcelError, match="leave one of them out"):
        MlxcelSelector(Mlxcel(base_url=server.url), by_embeddings=True, calibrate=True)


def test_no_choices_are_an_error(server: FakeServer) -> None:
    with pytest.raises(MlxcelError, match="no choices to select from"):
        MlxcelSelector(Mlxcel(base_url=server.url)).select([], "Which?")


class Named(CustomQueryEngine):
    """Answers with its name."""

    name: str

    def custom_query(self, query_str: str) -> str:
        return self.name


def test_it_routes_queries(server: FakeServer) -> None:
    server.script(Decider({"money": 0.2, "rivers": 0.8}).reply())
    llm = Mlxcel(base_url=server.url)
    tools = [
        QueryEngineTool(Named(name=metadata.name or ""), metadata=metadata) for metadata in NAMED
    ]
    engine = RouterQueryEngine(MlxcelSelector(llm), tools, llm=llm)

    assert "rivers" == str(engine.query("Which river is long?"))


@pytest.mark.engine
def test_the_engine_selects_a_choice() -> None:
    with Mlxcel(model="embedded") as llm:
        selected = MlxcelSelector(llm).select(NAMED, "How long is the Nile?")

    assert selected.ind in (0, 1)
    assert selected.reason.startswith("probability 0.")
