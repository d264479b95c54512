"""Both frameworks on mlxcel 0.4.2: what users do most often ends as it should."""

from __future__ import annotations

import asyncio
import enum
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

import openai
import pytest
from pydantic import BaseModel

from mlxcel_integrations import (
    LLM,
    MlxcelStreamError,
    StructuredOutputError,
    StructuredOutputTruncated,
)
from tests.client.test_freeing import freed
from tests.fakes.server import FakeServer, Reply

REACT = " I should look.\nAction: search\nAction Input: Oslo\nObservation: I invent this."
CALL = '{"name": "get_weather", "arguments": {"location": "Oslo"}}'


class City(BaseModel):
    """A city."""

    name: str
    people: int


class Town(TypedDict):
    """A town."""

    name: str


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


OPEN = {
    "title": "Town",
    "description": "A town.",
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
}


def get_weather(location: str) -> str:
    """Return the weather at a place."""
    return f"It is sunny in {location}."


COUNTING = "one two three" + " four" * 1000
"""An answer that the server is still sending when a stop text ends it."""


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer("v0.4.2", slots=2) as fake:
        yield fake


@pytest.fixture
def chat(server: FakeServer) -> Iterator[Any]:
    pytest.importorskip("langchain_core")
    from mlxcel_integrations.langchain import ChatMlxcel

    with ChatMlxcel(base_url=server.url) as model:
        yield model


@pytest.fixture
def completion(server: FakeServer) -> Iterator[Any]:
    pytest.importorskip("langchain_core")
    from mlxcel_integrations.langchain import MlxcelLLM

    with MlxcelLLM(base_url=server.url) as model:
        yield model


@pytest.fixture
def index(server: FakeServer) -> Iterator[Any]:
    pytest.importorskip("llama_index.core")
    from mlxcel_integrations.llama_index import Mlxcel

    with Mlxcel(base_url=server.url) as model:
        yield model


Ask = Callable[..., Any]


def whole(model: Any, method: str, *args: Any, **options: Any) -> Any:
    return getattr(model, method)(*args, **options)


def awhole(model: Any, method: str, *args: Any, **options: Any) -> Any:
    async def twin() -> Any:
        return await getattr(model, f"a{method}")(*args, **options)

    return asyncio.run(twin())


def streamed(model: Any, method: str, *args: Any, **options: Any) -> list[Any]:
    return list(getattr(model, method)(*args, **options))


def astreamed(model: Any, method: str, *args: Any, **options: Any) -> list[Any]:
    async def twin() -> list[Any]:
        parts = getattr(model, f"a{method}")(*args, **options)
        if not hasattr(parts, "__aiter__"):
            parts = await parts  # LlamaIndex's are coroutines that return generators
        return [part async for part in parts]

    return asyncio.run(twin())


WHOLE = pytest.mark.parametrize("ask", [whole, awhole], ids=["sync", "async"])
STREAMED = pytest.mark.parametrize("ask", [streamed, astreamed], ids=["sync", "async"])


# --------------------------------------------------------------------------- LangChain


@WHOLE
@pytest.mark.parametrize(
    ("kind", "expected", "finish"),
    [
        (City, City(name="x", people=1), "error"),
        (Town, {"name": "x"}, "error"),
        (Size, Size.SMALL, "error"),
        (list[City], [City(name="x", people=1)], "error"),
        (OPEN, {"name": "x"}, "stop"),
    ],
    ids=["class", "TypedDict", "enum", "list", "open schema"],
)
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_langchain_makes_objects(
    chat: Any, ask: Ask, kind: Any, expected: Any, finish: str, method: str
) -> None:
    assert expected == ask(chat.with_structured_output(kind, method=method), "invoke", "Which?")

    raw = ask(
        chat.with_structured_output(kind, method=method, include_raw=True), "invoke", "Which?"
    )
    assert (expected, None) == (raw["parsed"], raw["parsing_error"])
    assert finish == raw["raw"].response_metadata["finish_reason"]
    assert raw["raw"].usage_metadata is None


@STREAMED
@pytest.mark.parametrize(
    ("kind", "expected"),
    [(City, City(name="x", people=1)), (Town, {"name": "x"}), (OPEN, {"name": "x"})],
    ids=["class", "TypedDict", "open schema"],
)
def test_langchain_streams_objects(chat: Any, ask: Ask, kind: Any, expected: Any) -> None:
    parts = ask(chat.with_structured_output(kind, partial=True), "stream", "Which?")

    assert expected == parts[-1]
    assert len(parts) > 1


@WHOLE
def test_langchain_agents_answer_with_objects(chat: Any, ask: Ask) -> None:
    agents = pytest.importorskip("langchain.agents")
    agent = agents.create_agent(chat, [], response_format=City)

    state = ask(agent, "invoke", {"messages": [{"role": "user", "content": "Which?"}]})

    assert City(name="x", people=1) == state["structured_response"]


@WHOLE
def test_langchain_agents_call_tools_and_answer_with_objects(
    chat: Any, server: FakeServer, ask: Ask
) -> None:
    agents = pytest.importorskip("langchain.agents")
    server.script(Reply.text(CALL), Reply.text('{"name": "Oslo", "people": 7}'))
    agent = agents.create_agent(chat, [get_weather], response_format=City)

    state = ask(agent, "invoke", {"messages": [{"role": "user", "content": "Which?"}]})

    assert City(name="Oslo", people=7) == state["structured_response"]
    assert "It is sunny in Oslo." in [message.content for message in state["messages"]]


@WHOLE
@pytest.mark.parametrize("choice", ["any", "required", "get_weather", True])
def test_langchain_forces_calls(chat: Any, ask: Ask, choice: Any) -> None:
    answer = ask(chat.bind_tools([get_weather], tool_choice=choice), "invoke", "And now?")

    assert [("get_weather", {"location": "x"})] == [
        (call["name"], call["args"]) for call in answer.tool_calls
    ]
    assert "tool_calls" == answer.response_metadata["finish_reason"]
    assert "" == answer.content


@WHOLE
@pytest.mark.parametrize("tokens", [7, 16])
def test_langchain_is_told_of_a_forced_call_that_was_cut(chat: Any, ask: Ask, tokens: int) -> None:
    forced = chat.bind_tools([get_weather], tool_choice="any").bind(max_tokens=tokens)

    answer = ask(forced, "invoke", "And now?")

    assert ([], "", "length") == (
        answer.tool_calls,
        answer.content,
        answer.response_metadata["finish_reason"],
    )
    assert ["get_weather"] == [call["name"] for call in answer.invalid_tool_calls]


@STREAMED
@pytest.mark.parametrize("tokens", [7, 16])
def test_a_cut_call_in_a_stream_of_langchain_is_invalid_too(
    chat: Any, ask: Ask, tokens: int
) -> None:
    forced = chat.bind_tools([get_weather], tool_choice="any").bind(max_tokens=tokens)

    first, *rest = ask(forced, "stream", "And now?")

    answer = sum(rest, first)
    assert ([], "") == (answer.tool_calls, answer.content)
    assert ["get_weather"] == [call["name"] for call in answer.invalid_tool_calls]


@WHOLE
def test_langchain_is_told_of_json_that_was_cut(chat: Any, ask: Ask) -> None:
    model = chat.with_structured_output(City, max_tokens=7)

    with pytest.raises(StructuredOutputTruncated, match="raise max_tokens"):
        ask(model, "invoke", "Which?")


@WHOLE
def test_langchain_s_answers_end_at_stop_texts(chat: Any, server: FakeServer, ask: Ask) -> None:
    server.script(*[Reply.text(COUNTING, delay=0.02)] * 2)

    for answer in (
        ask(chat.bind(stop=[" three"]), "invoke", "Count"),
        ask(chat, "invoke", "Count", stop=[" three"]),
    ):
        assert ("one two", "stop") == (
            answer.content,
            answer.response_metadata["finish_reason"],
        )
        assert {"completion_tokens": 3} == answer.response_metadata["token_usage"]
        assert answer.usage_metadata is None
    assert freed(server)


@STREAMED
def test_langchain_s_streams_end_at_stop_texts(chat: Any, server: FakeServer, ask: Ask) -> None:
    server.script(Reply.text(COUNTING, delay=0.02))

    chunks = ask(chat, "stream", "Count", stop=["three"])

    assert "one two " == "".join(chunk.text for chunk in chunks)
    assert "stop" == chunks[-1].response_metadata["finish_reason"]
    assert [None] == list({chunk.usage_metadata for chunk in chunks})
    assert freed(server)


@WHOLE
def test_a_react_chain_ends_before_the_observation(
    completion: Any, server: FakeServer, ask: Ask
) -> None:
    from langchain_core.prompts import PromptTemplate

    prompt = PromptTemplate.from_template("Question: {question}\nThought:")
    server.script(*[Reply.text(REACT)] * 2)
    chain = prompt | completion.bind(stop=["\nObservation:"])

    text = ask(chain, "invoke", {"question": "How is the weather?"})

    assert " I should look.\nAction: search\nAction Input: Oslo" == text
    result = ask(completion, "generate", ["Why?"], stop=["\nObservation"])
    info = result.generations[0][0].generation_info
    assert ("stop", {"completion_tokens": 9}) == (info["finish_reason"], info["token_usage"])


@WHOLE
def test_langchain_s_batches_are_right(chat: Any, completion: Any, ask: Ask) -> None:
    questions = [f"number {number}" for number in range(34)]
    expected = [f"echo: {question}" for question in questions]

    config = {"max_concurrency": 34}
    assert expected == [answer.text for answer in ask(chat, "batch", questions, config)]
    assert expected == ask(completion, "batch", questions, config)


# --------------------------------------------------------------------------- LlamaIndex


@WHOLE
def test_llamaindex_makes_objects(index: Any, ask: Ask) -> None:
    from llama_index.core import PromptTemplate
    from llama_index.core.llms import ChatMessage

    class Open(BaseModel, extra="allow"):
        """Anything with a name."""

        name: str

    prompt, city = PromptTemplate("Which?"), City(name="x", people=1)
    messages = [ChatMessage("Which?")]

    assert city == ask(index, "structured_predict", City, prompt)
    assert Open(name="x") == ask(index, "structured_predict", Open, prompt)
    assert city == ask(index.as_structured_llm(City), "chat", messages).raw
    assert city == ask(index.as_structured_llm(City), "complete", "Which?").raw


@STREAMED
@pytest.mark.filterwarnings("ignore:The `json` method is deprecated")  # called by LlamaIndex
def test_llamaindex_streams_objects(index: Any, ask: Ask) -> None:
    from llama_index.core import PromptTemplate
    from llama_index.core.llms import ChatMessage

    city = City(name="x", people=1)

    parts = ask(index, "stream_structured_predict", City, PromptTemplate("Which?"))
    assert city == parts[-1]
    responses = ask(index.as_structured_llm(City), "stream_chat", [ChatMessage("Which?")])
    assert city == responses[-1].raw
    assert len(parts) > 1 < len(responses)


@pytest.mark.parametrize("required", [True, False])
def test_llamaindex_s_programs_make_objects(index: Any, required: bool) -> None:
    from llama_index.core import PromptTemplate
    from llama_index.core.program import FunctionCallingProgram

    program = FunctionCallingProgram.from_defaults(
        City, llm=index, prompt=PromptTemplate("Which?"), tool_required=required
    )
    city = City(name="x", people=1)

    assert city == program()
    assert city == list(program.stream_call())[-1]
    assert city == asyncio.run(program.acall())


@WHOLE
def test_llamaindex_forces_calls(index: Any, ask: Ask) -> None:
    from llama_index.core.tools import FunctionTool

    tool = FunctionTool.from_defaults(get_weather)

    answer = ask(index, "chat_with_tools", [tool], "And now?", tool_required=True)

    (call,) = index.get_tool_calls_from_response(answer)
    assert ("get_weather", {"location": "x"}) == (call.tool_name, call.tool_kwargs)
    assert "tool_calls" == answer.raw["finish_reason"]


@WHOLE
@pytest.mark.parametrize("tokens", [7, 16])
def test_llamaindex_is_told_of_a_forced_call_that_was_cut(
    index: Any, ask: Ask, tokens: int
) -> None:
    from llama_index.core.tools import FunctionTool

    tool = FunctionTool.from_defaults(get_weather)

    answer = ask(
        index, "chat_with_tools", [tool], "And now?", tool_required=True, max_tokens=tokens
    )

    assert not answer.message.content
    with pytest.raises(StructuredOutputTruncated, match="get_weather"):
        index.get_tool_calls_from_response(answer)


@WHOLE
def test_llamaindex_s_answers_end_at_stop_texts(index: Any, server: FakeServer, ask: Ask) -> None:
    from llama_index.core.llms import ChatMessage

    server.script(*[Reply.text(COUNTING, delay=0.02)] * 2)

    text = ask(index, "complete", "Count", stop=[" three"])
    message = ask(index, "chat", [ChatMessage("Count")], stop=[" three"])

    assert ("one two", "one two") == (text.text, message.message.content)
    for answer in (text, message):
        assert ("stop", {"completion_tokens": 3}) == (
            answer.raw["finish_reason"],
            answer.raw["usage"],
        )
    assert freed(server)


@STREAMED
def test_llamaindex_s_streams_end_at_stop_texts(index: Any, server: FakeServer, ask: Ask) -> None:
    from llama_index.core.llms import ChatMessage

    server.script(*[Reply.text(COUNTING, delay=0.02)] * 2)

    texts = ask(index, "stream_complete", "Count", stop=[" three"])
    messages = ask(index, "stream_chat", [ChatMessage("Count")], stop=[" three"])

    assert ("one two", "one two") == (texts[-1].text, messages[-1].message.content)
    assert "stop" == texts[-1].raw["finish_reason"] == messages[-1].raw["finish_reason"]
    assert freed(server)


# --------------------------------------------------------------------------- together


def test_objects_of_all_kinds_share_the_slots(
    chat: Any, completion: Any, index: Any, server: FakeServer
) -> None:
    """Also with tools and schemas, whose chats begin with other requests."""
    server.scheduler.prefill_seconds = 0.02
    from llama_index.core.llms import ChatMessage

    with LLM(base_url=server.url) as one, LLM(base_url=f"{server.url}/v1") as other:
        ways: list[Callable[[str], str]] = [
            lambda text: one.chat(text),
            lambda text: other.generate(text),
            lambda text: str(chat.invoke(text).text),
            lambda text: str(completion.invoke(text)),
            lambda text: str(index.chat([ChatMessage(text)]).message.content),
            lambda text: str(index.complete(text).text),
        ]
        begin = threading.Barrier(34)

        def ask(number: int) -> str:
            begin.wait(10)
            return ways[number % len(ways)](f"number {number}")

        with ThreadPoolExecutor(34) as threads:
            answers = list(threads.map(ask, range(34)))

    assert [f"echo: number {number}" for number in range(34)] == answers
    assert 34 == len(server.posts)


@WHOLE
def test_errors_of_given_up_answers_are_those_of_the_frameworks(
    chat: Any, index: Any, server: FakeServer, ask: Ask
) -> None:
    from llama_index.core.llms import ChatMessage

    for request in (
        lambda: ask(chat, "invoke", "hi"),
        lambda: ask(index, "chat", [ChatMessage("hi")]),
    ):
        server.script(Reply.text("one", finish="error"))
        with pytest.raises(MlxcelStreamError) as caught:
            request()
        assert "one" == caught.value.partial


@WHOLE
def test_json_that_does_not_fit_is_an_error_of_the_frameworks(
    chat: Any, completion: Any, index: Any, server: FakeServer, ask: Ask
) -> None:
    """Where a user gives a format, and nobody else checks the answer."""
    from langchain_core.exceptions import OutputParserException
    from llama_index.core.llms import ChatMessage

    def parts(model: Any, method: str, *args: Any) -> Any:
        return (astreamed if ask is awhole else streamed)(model, method, *args, **given)

    given = {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": OPEN}}
    }
    messages = [ChatMessage("Which?")]
    langchain: list[Callable[[], Any]] = [
        lambda: ask(chat.bind(**given), "invoke", "Which?"),
        lambda: ask(chat, "invoke", "Which?", **given),
        lambda: parts(chat, "stream", "Which?"),
        lambda: ask(completion.bind(**given), "invoke", "Which?"),
        lambda: parts(completion, "stream", "Which?"),
    ]
    llama_index: list[Callable[[], Any]] = [
        lambda: ask(index, "chat", messages, **given),
        lambda: ask(index, "complete", "Which?", **given),
        lambda: parts(index, "stream_chat", messages),
    ]
    for request in [*langchain, *llama_index]:
        server.script(Reply.text('{"name": 5}', finish="error"))
        with pytest.raises(StructuredOutputError, match="does not fit the schema") as caught:
            request()
        assert (request in langchain) == isinstance(caught.value, OutputParserException)
    assert 8 == len(server.posts)


def test_all_slots_busy_is_a_timeout_in_both(server: FakeServer) -> None:
    pytest.importorskip("langchain_core")
    pytest.importorskip("llama_index.core")
    from llama_index.core.llms import ChatMessage

    from mlxcel_integrations.langchain import ChatMlxcel
    from mlxcel_integrations.llama_index import Mlxcel

    server.script(*[Reply.text("a b", delay=30)] * 2)
    with (
        LLM(base_url=server.url) as busy,
        ChatMlxcel(base_url=server.url, timeout=0.3) as chat,
        Mlxcel(base_url=server.url, timeout=0.3) as index,
    ):
        streams: list[Any] = [busy.chat_stream("hold") for _ in range(2)]
        assert ["a", "a"] == [next(stream) for stream in streams]
        for request in (lambda: chat.invoke("hi"), lambda: index.chat([ChatMessage("hi")])):
            with pytest.raises(openai.APITimeoutError, match="All slots"):
                request()
        for stream in streams:
            stream.close()
