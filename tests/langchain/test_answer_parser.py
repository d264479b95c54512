"""Runs, events and schemas of structured models; what they answer is in ``test_structured.py``."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessageChunk
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run
from langgraph.graph import END, START, StateGraph
from langgraph.pregel import Pregel
from pydantic import BaseModel
from typing_extensions import TypedDict

from mlxcel_integrations.langchain import ChatMlxcel
from tests.client.test_freeing import freed
from tests.fakes.server import FakeServer, Reply


class City(BaseModel):
    """A city."""

    name: str
    people: int = 0


class Row(TypedDict):
    name: str


CITY = {"title": "City", "type": "object", "properties": {"name": {"type": "string"}}}
OSLO = '{"name": "Oslo", "people": 7}'
CUT = '{"name": "Oslo'
PARSERS = {City: "PydanticOutputParser", Row: "JsonOutputParser"}


class Runs(BaseTracer):
    """Keeps the runs at the top."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.roots.append(run)


def tree(run: Run) -> list[Any]:
    """The type and the name of a run, whether it failed, and the same of its parts."""
    return [run.run_type, run.name, bool(run.error), *map(tree, run.child_runs)]


def invoke(runnable: Any, question: Any, config: Any = None) -> Any:
    return runnable.invoke(question, config)


def ainvoke(runnable: Any, question: Any, config: Any = None) -> Any:
    return asyncio.run(runnable.ainvoke(question, config))


def batch(runnable: Any, question: Any, config: Any = None) -> Any:
    return runnable.batch([question], config)[0]


def stream(runnable: Any, question: Any, config: Any = None) -> Any:
    return list(runnable.stream(question, config))[-1]


def astream(runnable: Any, question: Any, config: Any = None) -> Any:
    async def collect() -> list[Any]:
        return [value async for value in runnable.astream(question, config)]

    return asyncio.run(collect())[-1]


ALL_WAYS = pytest.mark.parametrize("ask", [invoke, ainvoke, batch, stream, astream])
Ask = Callable[..., Any]


@ALL_WAYS
@pytest.mark.parametrize("kind", PARSERS)
@pytest.mark.parametrize(("text", "failed"), [(OSLO, False), (CUT, True)])
def test_a_structured_model_is_a_sequence_of_a_model_and_a_parser_in_traces(
    server: FakeServer, llm: ChatMlxcel, ask: Ask, kind: Any, text: str, failed: bool
) -> None:
    server.script(Reply.text(text))
    runs = Runs()

    def asked() -> bool:
        try:
            model = llm.with_structured_output(kind, max_attempts=1)
            ask(model, "x", {"callbacks": [runs], "run_name": None})
        except OutputParserException:
            return False
        return True

    assert failed != asked()
    model, parser = ["llm", "ChatMlxcel", False], ["parser", PARSERS[kind], failed]
    assert [["chain", "RunnableSequence", failed, model, parser]] == list(map(tree, runs.roots))


@ALL_WAYS
def test_in_a_chain_the_model_and_the_parser_are_a_sequence_of_their_own(
    server: FakeServer, llm: ChatMlxcel, ask: Ask
) -> None:
    server.script(Reply.text(OSLO))
    runs = Runs()
    chain = ChatPromptTemplate.from_template("{x}") | llm.with_structured_output(City)

    answer = ask(chain, {"x": "y"}, {"callbacks": [runs], "run_name": "mine"})

    assert City(name="Oslo", people=7) == answer
    prompt = ["prompt", "ChatPromptTemplate", False]
    rest = [["llm", "ChatMlxcel", False], ["parser", "PydanticOutputParser", False]]
    inner = ["chain", "RunnableSequence", False, *rest]
    assert [["chain", "mine", False, prompt, inner]] == list(map(tree, runs.roots))


@ALL_WAYS
@pytest.mark.parametrize("include_raw", [False, True])
def test_answers_are_the_same_whether_or_not_they_are_traced(
    server: FakeServer, llm: ChatMlxcel, ask: Ask, include_raw: bool
) -> None:
    server.script(*[Reply.text(OSLO)] * 2)
    model = llm.with_structured_output(City, include_raw=include_raw)

    answers = [ask(model, "x"), ask(model, "x", {"callbacks": [Runs()]})]

    assert [City(name="Oslo", people=7)] * 2 == [
        answer["parsed"] if include_raw else answer for answer in answers
    ]


@ALL_WAYS
def test_handlers_of_the_model_itself_see_its_run_alone(server: FakeServer, ask: Ask) -> None:
    server.script(Reply.text(OSLO))
    runs = Runs()

    with ChatMlxcel(base_url=server.url, callbacks=[runs]) as llm:
        ask(llm.with_structured_output(City), "x", {"run_name": "mine"})

    assert [["llm", "ChatMlxcel", False]] == list(map(tree, runs.roots))


def test_events_hold_the_chunks_of_the_message_and_the_objects(
    server: FakeServer, llm: ChatMlxcel
) -> None:
    server.script(Reply.text(OSLO))

    async def collect() -> list[Any]:
        model = llm.with_structured_output(City, partial=True)
        return [event async for event in model.astream_events("x", version="v2")]

    events = asyncio.run(collect())
    kinds: dict[str, set[type]] = {}
    for event in events:
        if event["event"].endswith("_stream"):
            kinds.setdefault(event["name"], set()).add(type(event["data"]["chunk"]))

    assert {
        "ChatMlxcel": {AIMessageChunk},
        "PydanticOutputParser": {City},
        "RunnableSequence": {City},
    } == kinds
    assert ["on_chain_start", "on_chat_model_start"] == [event["event"] for event in events[:2]]
    assert ["on_parser_end", "on_chain_end"] == [event["event"] for event in events[-2:]]
    assert City(name="Oslo", people=7) == events[-1]["data"]["output"]


@pytest.mark.skipif(not hasattr(Pregel, "_pregel_stream_v3"), reason="this LangGraph is too old")
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_in_a_graph_the_typed_events_hold_the_text_of_the_message(
    server: FakeServer, llm: ChatMlxcel
) -> None:
    class State(TypedDict):
        city: Any

    def ask(state: State) -> State:
        return {"city": llm.with_structured_output(City).invoke("x")}

    server.script(Reply.text(OSLO))
    graph = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").add_edge("ask", END)
    stream = graph.compile().stream_events({"city": None}, version="v3")

    assert [OSLO] == [str(message.text) for message in stream.messages]
    assert City(name="Oslo", people=7) == stream.output["city"]


@pytest.mark.parametrize(
    ("kind", "include_raw", "title", "properties"),
    [
        (City, False, "City", {"name", "people"}),
        (Row, False, "JsonOutputParserOutput", set()),
        (CITY, False, "JsonOutputParserOutput", set()),
        (list[City], False, "PydanticOutputParserOutput", set()),
        (City, True, "StructuredAnswer", {"raw", "parsed", "parsing_error"}),
    ],
)
def test_the_schema_of_the_output_is_known(
    llm: ChatMlxcel, kind: Any, include_raw: bool, title: str, properties: set[str]
) -> None:
    schema = llm.with_structured_output(kind, include_raw=include_raw).get_output_jsonschema()

    assert title == schema["title"]
    assert properties == set(schema.get("properties", {}))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
@pytest.mark.parametrize("kind", [City, CITY, list[City], int | None])
def test_structured_models_can_be_copied_and_pickled(
    server: FakeServer, llm: ChatMlxcel, duplicate: Callable[[Any], Any], kind: Any
) -> None:
    model = llm.with_structured_output(kind, include_raw=True)

    again = duplicate(model)

    asked = [each.invoke("x") for each in (model, again)]
    assert asked[0]["parsed"] == asked[1]["parsed"] is not None
    first, second = [post.json for post in server.posts]
    assert first == second
    again.first.bound.close()


class Nothing(BaseCallbackHandler):
    """Observes the runs."""


def leave_the_loop(runnable: Any, question: Any) -> None:
    for _ in runnable.stream(question, {"callbacks": [Nothing()]}):
        break


def leave_the_loop_async(runnable: Any, question: Any) -> None:
    async def leave() -> None:
        stream = runnable.astream(question, {"callbacks": [Nothing()]})
        async for _ in stream:
            break
        await stream.aclose()

    asyncio.run(leave())


@pytest.mark.parametrize("leave", [leave_the_loop, leave_the_loop_async])
@pytest.mark.parametrize("chained", [False, True])
def test_leaving_a_traced_stream_frees_the_server(
    server: FakeServer, llm: ChatMlxcel, leave: Callable[..., None], chained: bool
) -> None:
    server.script(Reply.text(CUT, delay=60))
    runnable: Any = llm.with_structured_output(CITY)
    if chained:
        runnable = ChatPromptTemplate.from_template("{x}") | runnable

    leave(runnable, {"x": "y"} if chained else "x")

    assert freed(server)


def test_a_structured_model_looks_like_a_sequence(llm: ChatMlxcel) -> None:
    model = llm.with_structured_output(City)

    assert [model.first, model.last] == model.steps
    nodes = [node.name for node in model.get_graph().nodes.values()]
    assert ["ChatMlxcelInput", "ChatMlxcel", "PydanticOutputParser"] == nodes[:3]
    assert City is model.OutputType
    assert model.InputType == llm.InputType
    assert "ChatMlxcel" in repr(model)
    assert model.get_input_jsonschema() == llm.get_input_jsonschema()
    assert [] == list(model.config_specs)
