"""LlamaIndex's components survive answers that do not fit, as they are made to.

They catch ``ValueError``, ``TypeError`` or Pydantic's ``ValidationError``.
"""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import Document, PromptTemplate, SummaryIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.base.response.schema import PydanticResponse
from llama_index.core.extractors import PydanticProgramExtractor
from llama_index.core.indices.property_graph import SchemaLLMPathExtractor
from llama_index.core.node_parser import MarkdownElementNodeParser
from llama_index.core.program import FunctionCallingProgram
from llama_index.core.query_engine import SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.schema import IndexNode, TextNode
from llama_index.core.tools import QueryEngineTool, ToolMetadata
from llama_index.core.tools.calling import call_tool
from pydantic import BaseModel

from mlxcel_integrations import MlxcelError, StructuredOutputError, StructuredOutputTruncated
from mlxcel_integrations.llama_index import Mlxcel
from mlxcel_integrations.llama_index.mlxcel_errors import llama_index_errors
from tests.fakes.answers import Json
from tests.fakes.server import FakeServer, Reply
from tests.llama_index import test_entry_points as entry_points
from tests.llama_index.tool_calls import NEWS

# Core's own: agents, extractors and StructuredLLM use what Pydantic 1 had.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")

PROSE = Reply.text("Sorry, no.")
CUT = Reply.text('{"title": "x", "son', finish="length")


def wants_object(body: Json) -> bool:
    return body.get("response_format") is not None


def question(body: Json) -> str:
    return str(body["messages"][-1]["content"])


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server whose objects are cut, and whose texts are not."""
    with FakeServer("v0.4.2") as running:
        running.think = lambda body: CUT if wants_object(body) else None
        yield running


# --------------------------------------------------------------------------- the errors


@pytest.mark.parametrize(
    "error",
    [
        StructuredOutputError("It does not fit.", raw="[]", finish_reason="stop"),
        StructuredOutputTruncated("Cut.", raw='{"a"', finish_reason="length", partial={"a": 1}),
    ],
)
def test_an_error_keeps_what_it_says_and_is_a_value_error_too(error: StructuredOutputError) -> None:
    cause = KeyError("x")
    with pytest.raises(type(error)) as caught, llama_index_errors:
        raise error from cause

    dual: Any = caught.value
    assert isinstance(dual, ValueError)
    assert (str(error), vars(error)) == (str(dual), vars(dual))
    assert cause is dual.__cause__
    copy = pickle.loads(pickle.dumps(dual))
    assert (type(dual), str(dual), vars(dual)) == (type(copy), str(copy), vars(copy))


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(MlxcelError) as caught, llama_index_errors:
        raise MlxcelError("no model")

    assert not isinstance(caught.value, ValueError)


# --------------------------------------------------------------------------- entry points

CAUGHT_BY_REFINE = {"query compact", "query refine", "aquery compact", "aquery refine"}
WAYS = {**entry_points.OBJECT, **{name: way for name, (way, _) in entry_points.OTHER.items()}}


@pytest.mark.parametrize("name", [name for name in WAYS if "agent" not in name])
@pytest.mark.parametrize("reply", [CUT, PROSE], ids=["cut", "prose"])
def test_what_is_no_object_is_a_value_error_or_an_empty_response(
    server: FakeServer, llm: Mlxcel, name: str, reply: Reply
) -> None:
    server.think = lambda body: reply
    if name in CAUGHT_BY_REFINE or name.startswith("answer filtering"):
        response = entry_points.outcome(WAYS[name], llm)
        assert not isinstance(response, PydanticResponse)
        assert "Empty Response" == str(response)
    else:
        with pytest.raises(ValueError) as caught:  # noqa: PT011  # the point
            entry_points.outcome(WAYS[name], llm)
        # Core itself validates the answer of a structured LLM within its refining.
        if name != "query of a structured llm, compact":
            truncated = isinstance(caught.value, StructuredOutputTruncated)
            assert (reply is CUT) == truncated
            assert isinstance(caught.value, StructuredOutputError)


def test_a_schema_without_json_is_still_an_error_of_its_own(llm: Mlxcel) -> None:
    """It is the program that is wrong, not an answer: no component should go on."""

    class Odd(BaseModel):
        call: Callable[[], None]

    with pytest.raises(MlxcelError) as caught:
        llm.structured_predict(Odd, PromptTemplate("x"))
    assert not isinstance(caught.value, ValueError)


FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "x", "schema": {"type": "object", "required": ["title"]}},
}


@pytest.mark.parametrize("method", ["chat", "complete", "stream_chat", "stream_complete"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(
    "reply",
    [Reply.text('{"title": "x'), Reply.text('{"song": 1}', finish="error")],
    ids=["ended too early", "misfit"],
)
def test_the_answer_to_a_format_of_the_user_is_a_value_error_too(
    server: FakeServer, llm: Mlxcel, method: str, asynchronous: bool, reply: Reply
) -> None:
    server.think = lambda body: reply
    prompt: Any = "x" if "complete" in method else [ChatMessage("x")]

    def ask() -> None:
        list(getattr(llm, method)(prompt, response_format=FORMAT))

    async def ask_async() -> None:
        answer = await getattr(llm, f"a{method}")(prompt, response_format=FORMAT)
        if "stream" in method:
            _ = [chunk async for chunk in answer]

    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the point
        asyncio.run(ask_async()) if asynchronous else ask()
    assert isinstance(caught.value, StructuredOutputError)


# --------------------------------------------------------------------------- components

TRIPLET = {
    "subject": {"type": "PERSON", "name": "Ann"},
    "relation": {"type": "WORKED_AT"},
    "object": {"type": "PLACE", "name": "Oslo"},
}


@pytest.mark.parametrize("first", [CUT, PROSE], ids=["cut", "prose"])
def test_one_bad_answer_does_not_end_the_extraction_of_a_graph(
    server: FakeServer, llm: Mlxcel, first: Reply
) -> None:
    whole = Reply.text(json.dumps({"triplets": [TRIPLET]}))
    server.think = lambda body: first if "first" in question(body) else whole
    extractor = SchemaLLMPathExtractor(llm, kg_validation_schema={}, num_workers=1, strict=False)

    nodes = asyncio.run(extractor.acall([TextNode(text="first"), TextNode(text="second")]))

    assert [[], ["Ann", "Oslo"]] == [[one.name for one in n.metadata["nodes"]] for n in nodes]
    # Older releases of LlamaIndex always go on.
    if "raise_on_error" in SchemaLLMPathExtractor.model_fields:
        extractor.raise_on_error = True
        with pytest.raises(StructuredOutputError):
            asyncio.run(extractor.acall([TextNode(text="first")]))


TABLE = """# Sales

| Year | Cars |
| --- | --- |
| 2020 | 10 |
| 2021 | 12 |

That is all."""


def test_the_table_of_a_document_is_summarized_in_words_instead(
    server: FakeServer, llm: Mlxcel
) -> None:
    pytest.importorskip("pandas", reason="LlamaIndex reads tables with it")
    parser = MarkdownElementNodeParser(llm=llm, num_workers=1)

    nodes = parser.get_nodes_from_documents([Document(text=TABLE)])

    (table,) = [node for node in nodes if isinstance(node, IndexNode)]
    assert "echo: " in table.get_content()
    assert [True, True, False] == [wants_object(post.json) for post in server.posts]


def test_core_itself_fails_where_a_table_is_summarized_asynchronously(
    server: FakeServer, llm: Mlxcel
) -> None:
    """A known limit: core takes "Empty Response" for a table, until this test fails."""
    pytest.importorskip("pandas", reason="LlamaIndex reads tables with it")
    parser = MarkdownElementNodeParser(llm=llm, num_workers=1)

    with pytest.raises(AttributeError, match="'str' object has no attribute 'columns'"):
        asyncio.run(parser.aget_nodes_from_documents([Document(text=TABLE)]))


class Record(BaseModel):
    """A record."""

    title: str
    songs: list[str]


WHOLE = Reply.text('{"title": "Blue", "songs": []}')


def program(llm: Mlxcel) -> Any:
    return FunctionCallingProgram.from_defaults(
        Record, prompt_template_str="Which record? {input}", llm=llm
    )


def test_an_extractor_tries_again_or_goes_on_without(server: FakeServer, llm: Mlxcel) -> None:
    options: dict[str, Any] = {"program": program(llm), "num_workers": 1, "retry_backoff": 0}
    nodes = [TextNode(text="A record.")]

    extractor = PydanticProgramExtractor(**options, raise_on_error=False)
    assert [{}] == [node.metadata for node in extractor(nodes)]

    server.script(CUT, WHOLE)
    patient = PydanticProgramExtractor(**options, max_retries=1)
    assert ["Blue"] == [node.metadata["title"] for node in patient(nodes)]


def engine(llm: Mlxcel, **options: Any) -> Any:
    return SummaryIndex.from_documents([Document(text="Cats.")]).as_query_engine(llm, **options)


def tool(llm: Mlxcel) -> QueryEngineTool:
    answers = engine(llm, response_mode="tree_summarize", output_cls=Record)
    return QueryEngineTool(answers, ToolMetadata("It knows records.", name="records"))


def test_a_sub_question_without_an_answer_is_left_out(server: FakeServer, llm: Mlxcel) -> None:
    questions = '{"items": [{"sub_question": "Which?", "tool_name": "records"}]}'

    def think(body: Json) -> Reply | None:
        if "records" in question(body):
            return Reply.text(questions)
        return CUT if wants_object(body) else None

    server.think = think
    asking = SubQuestionQueryEngine.from_defaults(
        [tool(llm)], llm, LLMQuestionGenerator.from_defaults(llm), use_async=False, verbose=False
    )

    assert "Empty Response" == str(asking.query("Which record?"))
    assert [True, True, True] == [wants_object(post.json) for post in server.posts]


def test_a_tool_that_fails_tells_the_agent(server: FakeServer, llm: Mlxcel) -> None:
    output = call_tool(tool(llm), {"input": "Which record?"})

    assert output.is_error
    assert isinstance(output.exception, StructuredOutputTruncated)


def test_an_agent_answers_without_its_object(server: FakeServer, llm: Mlxcel) -> None:
    async def run() -> Any:
        return await FunctionAgent(llm=llm, tools=[NEWS], output_cls=Record).run("Which record?")

    with pytest.warns(UserWarning, match="problem with the generation of the structured output"):
        output = asyncio.run(run())

    assert output.structured_response is None
    assert "echo: Which record?" == str(output)


def test_a_required_call_that_does_not_come_is_a_value_error(
    server: FakeServer, llm: Mlxcel
) -> None:
    with pytest.raises(ValueError, match="called no tool"):
        llm.predict_and_call([NEWS], "Hello!")
    call = {"name": "get_news", "arguments": '{"topic'}
    server.script(Reply.text(tool_calls=[call], finish="length"))
    with pytest.raises(ValueError, match="cut within the call"):
        llm.predict_and_call([NEWS], "Hello!")
