"""Every way in which LlamaIndex gets an object from a model, with and without a constraint."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import Document, PromptTemplate, SummaryIndex, get_response_synthesizer
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.base.response.schema import AsyncStreamingResponse, PydanticResponse
from llama_index.core.postprocessor import StructuredLLMRerank
from llama_index.core.program.utils import get_program_for_llm
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.selectors import PydanticMultiSelector, PydanticSingleSelector
from pydantic import BaseModel, ValidationError

from mlxcel_integrations.llama_index import Mlxcel
from tests.fakes.server import FakeServer

# Core's own: StructuredLLM and agents use what Pydantic 1 had.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")


class Album(BaseModel):
    """A record."""

    title: str
    songs: list[str]


ALBUM = Album(title="x", songs=["x"])
PROMPT = PromptTemplate("Name a record about {topic}.")
CHAT = [ChatMessage("Name a record.")]
NODES = [NodeWithScore(node=TextNode(text=text), score=1.0) for text in ("Cats.", "Dogs.")]

Way = Callable[[Mlxcel], Any]


def structured(name: str, *args: Any) -> Way:
    return lambda llm: getattr(llm.as_structured_llm(Album), name)(*args)


def ask(mode: str, name: str = "query", *, wrapped: bool = False, **options: Any) -> Way:
    """Ask a query engine."""

    def way(llm: Mlxcel) -> Any:
        model = llm.as_structured_llm(Album) if wrapped else llm
        index = SummaryIndex.from_documents([Document(text="Cats."), Document(text="Dogs.")])
        engine = index.as_query_engine(llm=model, response_mode=mode, **options)
        return getattr(engine, name)("Which record?")

    return way


def filtering(name: str, streaming: bool) -> Way:
    def way(llm: Mlxcel) -> Any:
        made = get_response_synthesizer(
            llm=llm,
            response_mode=ResponseMode.REFINE,
            structured_answer_filtering=True,
            streaming=streaming,
        )
        return getattr(made, name)("Which record?", NODES)

    return way


def program(name: str) -> Way:
    return lambda llm: getattr(get_program_for_llm(Album, PROMPT, llm), name)(topic="cats")


def agent(llm: Mlxcel) -> Any:
    async def run() -> Any:
        made = FunctionAgent(llm=llm, tools=[], output_cls=Album)
        return (await made.run("Which record?")).structured_response

    return run()


def select(selector: Any, name: str) -> Way:
    return lambda llm: getattr(selector.from_defaults(llm=llm), name)(["cats", "dogs"], "Which?")


def rerank(name: str) -> Way:
    def way(llm: Mlxcel) -> Any:
        made = StructuredLLMRerank(llm=llm, top_n=1)
        return getattr(made, name)(NODES, QueryBundle("Which record?"))

    return way


OBJECT: dict[str, Way] = {
    "structured_predict": lambda llm: llm.structured_predict(Album, PROMPT, topic="cats"),
    "astructured_predict": lambda llm: llm.astructured_predict(Album, PROMPT, topic="cats"),
    "stream_structured_predict": lambda llm: llm.stream_structured_predict(
        Album, PROMPT, topic="cats"
    ),
    "astream_structured_predict": lambda llm: llm.astream_structured_predict(
        Album, PROMPT, topic="cats"
    ),
    "as_structured_llm chat": structured("chat", CHAT),
    "as_structured_llm achat": structured("achat", CHAT),
    "as_structured_llm complete": structured("complete", "Name a record."),
    "as_structured_llm acomplete": structured("acomplete", "Name a record."),
    "as_structured_llm stream_chat": structured("stream_chat", CHAT),
    "as_structured_llm astream_chat": structured("astream_chat", CHAT),
    "query compact": ask("compact", output_cls=Album),
    "query refine": ask("refine", output_cls=Album),
    "query tree_summarize": ask("tree_summarize", output_cls=Album),
    "aquery compact": ask("compact", "aquery", output_cls=Album),
    "aquery refine": ask("refine", "aquery", output_cls=Album),
    "aquery tree_summarize": ask("tree_summarize", "aquery", output_cls=Album),
    "query of a structured llm, compact": ask("compact", wrapped=True),
    "query of a structured llm, tree_summarize": ask("tree_summarize", wrapped=True),
    "agent with output_cls": agent,
    "program": program("__call__"),
    "program acall": program("acall"),
    "program stream_call": program("stream_call"),
    "program astream_call": program("astream_call"),
}
"""What gives the object."""

JOINED = "title='x' songs=['x']"
CHOSEN = "SingleSelection(index=0, reason='x')"

OTHER: dict[str, tuple[Way, str]] = {
    "query accumulate": (ask("accumulate", output_cls=Album), JOINED),
    "query compact_accumulate": (ask("compact_accumulate", output_cls=Album), JOINED),
    "answer filtering": (filtering("synthesize", streaming=False), "x"),
    "answer filtering, async": (filtering("asynthesize", streaming=False), "x"),
    "answer filtering, streaming": (filtering("synthesize", streaming=True), "x"),
    "answer filtering, async streaming": (filtering("asynthesize", streaming=True), "x"),
    "selector": (select(PydanticSingleSelector, "select"), CHOSEN),
    "selector, async": (select(PydanticSingleSelector, "aselect"), CHOSEN),
    "selector of several": (select(PydanticMultiSelector, "select"), CHOSEN),
    "rerank": (rerank("postprocess_nodes"), "Cats."),
    "rerank, async": (rerank("apostprocess_nodes"), "Cats."),
}
"""What asks for an object, and gives what core makes of it."""

NOT_BY_CORE: dict[str, tuple[Way, type[Exception] | None]] = {
    # StructuredLLM says itself that it cannot do that.
    "as_structured_llm stream_complete": (structured("stream_complete", "x"), NotImplementedError),
    "as_structured_llm astream_complete": (
        structured("astream_complete", "x"),
        NotImplementedError,
    ),
    # These modes do not look at output_cls.
    "query simple_summarize": (ask("simple_summarize", output_cls=Album), None),
    "query generation": (ask("generation", output_cls=Album), None),
    # The synthesizer reads the text of a stream as if it were a whole answer.
    "query of a structured llm, streaming": (
        ask("compact", wrapped=True, streaming=True),
        ValidationError,
    ),
}
"""What core makes impossible, and the error if it says so."""


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer("v0.4.2") as running:
        yield running


def outcome(way: Way, llm: Mlxcel) -> Any:
    """Go a way to its end, and return the last that came of it."""

    async def finish(found: Any) -> Any:
        found = await found
        if isinstance(found, AsyncStreamingResponse):
            return await found.get_response()
        return [part async for part in found][-1] if inspect.isasyncgen(found) else found

    found = way(llm)
    if inspect.isawaitable(found):
        return asyncio.run(finish(found))
    return list(found)[-1] if inspect.isgenerator(found) else found


def as_object(found: Any) -> Album:
    """Return the object in what an entry point gives."""
    if isinstance(found, PydanticResponse):
        found = found.response
    text = getattr(getattr(found, "message", found), "content", None) or getattr(
        found, "text", None
    )
    if isinstance(text, str):
        return Album.model_validate_json(text)
    return Album.model_validate(found if isinstance(found, dict) else found.model_dump())


def constrained(server: FakeServer) -> list[bool]:
    return [
        "json_schema" == (post.json.get("response_format") or {}).get("type")
        for post in server.posts
    ]


@pytest.mark.parametrize("name", OBJECT)
def test_objects_are_made_by_the_constraint(server: FakeServer, llm: Mlxcel, name: str) -> None:
    assert ALBUM == as_object(outcome(OBJECT[name], llm))
    # An agent writes its answer before it is put into the form.
    expected = [False, True] if name.startswith("agent") else [True]
    assert expected == sorted(set(constrained(server)))


@pytest.mark.parametrize("name", OTHER)
def test_what_is_made_of_objects_is_constrained_too(
    server: FakeServer, llm: Mlxcel, name: str
) -> None:
    way, expected = OTHER[name]
    assert expected in str(outcome(way, llm))
    assert {True} == set(constrained(server))


@pytest.mark.parametrize("name", NOT_BY_CORE)
def test_what_core_makes_impossible_stays_so(server: FakeServer, llm: Mlxcel, name: str) -> None:
    """Known limits: when one of these fails, core has learnt it."""
    way, error = NOT_BY_CORE[name]
    if error is None:
        assert outcome(way, llm)
        assert {False} == set(constrained(server))
    else:
        with pytest.raises(error):
            outcome(way, llm)
