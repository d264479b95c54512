"""``ChatMlxcel`` on the embedded engine: what only a real server can show."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import openai
import pytest
from langchain.agents import create_agent
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from mlxcel_integrations import ManagedServer, MlxcelServerError
from mlxcel_integrations.langchain import ChatMlxcel, MlxcelLLM
from tests import WARNINGS_ARE_ERRORS
from tests.fakes.slots import busy_slots, within
from tests.langchain.histories import ANSWERS

pytestmark = pytest.mark.engine

LONG = "Repeat the word sea for ever: sea sea sea sea sea sea sea sea"


@tool
def get_weather(city: str, days: int) -> str:
    """Return the weather in a city for a number of days."""
    return f"It will be sunny in {city} for {days} days."


@pytest.fixture(scope="module")
def server() -> Iterator[ManagedServer]:
    with ManagedServer("embedded") as running:
        yield running


@pytest.fixture
def llm(server: ManagedServer) -> Iterator[ChatMlxcel]:
    with ChatMlxcel(socket=server.socket, temperature=0, max_tokens=32) as model:
        yield model


@pytest.fixture
def slots(server: ManagedServer) -> Iterator[Callable[[], int]]:
    assert server.socket is not None
    with busy_slots(server.socket) as count:
        yield count


def endless(llm: ChatMlxcel) -> ChatMlxcel:
    """Return a model whose answers do not end by themselves within the test."""
    return llm.model_copy(update={"max_tokens": 2000, "extra_body": {"ignore_eos": True}})


def test_a_chain_answers_from_a_given_text(llm: ChatMlxcel) -> None:
    prompt = ChatPromptTemplate([("human", "{text}\n\n{question}")])
    chain = prompt | llm | StrOutputParser()

    answer = chain.invoke(
        {"text": "The meeting is on Tuesday in Oslo.", "question": "Where is the meeting?"}
    )

    assert "Oslo" in answer


def test_usage_and_timings_are_the_same_from_invoke_and_stream(llm: ChatMlxcel) -> None:
    invoked = llm.invoke("What is the capital of France?")
    first, *rest = llm.stream("What is the capital of France?")
    streamed = first + rest

    assert invoked.text == streamed.text
    assert set(invoked.response_metadata) == set(streamed.response_metadata)
    assert "timings" in invoked.response_metadata
    assert invoked.usage_metadata is not None
    assert streamed.usage_metadata is not None  # type: ignore[attr-defined]  # a chunk is a message
    for name in ("input_tokens", "output_tokens", "total_tokens"):
        assert invoked.usage_metadata[name] == streamed.usage_metadata[name]  # type: ignore[attr-defined,literal-required]  # as above


class Essay(BaseModel):
    """A text that does not end within the test."""

    text: str = Field(min_length=300)


def dictionaries(llm: ChatMlxcel) -> Runnable[Any, Any]:
    return llm.with_structured_output(Essay.model_json_schema(), max_tokens=2000)


def agent_with_tools(llm: ChatMlxcel) -> Runnable[Any, Any]:
    agent: Runnable[Any, Any] = create_agent(endless(llm), [get_weather])
    return agent


def agent_with_schema(llm: ChatMlxcel) -> Runnable[Any, Any]:
    long = llm.model_copy(update={"max_tokens": 2000})
    agent: Runnable[Any, Any] = create_agent(long, response_format=Essay)
    return agent


# Before the fifth, the engine may be reading the prompt, and notice nothing else.
FIFTH = 5


@pytest.mark.parametrize("answering", [endless, dictionaries])
def test_breaking_out_of_a_stream_frees_the_slot(
    llm: ChatMlxcel, slots: Callable[[], int], answering: Callable[[ChatMlxcel], Any]
) -> None:
    for number, _ in enumerate(answering(llm).stream(LONG), 1):
        if number == FIFTH:
            assert 1 == slots()
            break

    assert within(0.2, slots, 0)


@pytest.mark.parametrize("way", ["ainvoke", "astream"])
@pytest.mark.parametrize("answering", [endless, dictionaries, agent_with_tools, agent_with_schema])
def test_cancelling_a_task_frees_the_slot(
    llm: ChatMlxcel, slots: Callable[[], int], way: str, answering: Callable[[ChatMlxcel], Any]
) -> None:
    runnable = answering(llm)
    question: Any = LONG
    how: dict[str, Any] = {}
    if answering in (agent_with_tools, agent_with_schema):
        question, how = {"messages": [HumanMessage(LONG)]}, {"stream_mode": "messages"}

    async def cancel() -> bool:
        async def drain() -> None:
            async for _ in runnable.astream(question, **how):
                pass

        task = asyncio.ensure_future(runnable.ainvoke(question) if way == "ainvoke" else drain())
        assert await asyncio.to_thread(within, 20.0, slots, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The engine notices with its next token, which takes long where a grammar is large.
        seconds = 1.0 if answering is agent_with_schema else 0.2
        return await asyncio.to_thread(within, seconds, slots, 0)

    assert asyncio.run(cancel())


def test_an_agent_calls_a_tool_and_answers(llm: ChatMlxcel) -> None:
    # The model would else repeat its call.
    once = {"max_tokens": 64, "extra_body": {"parallel_tool_calls": False}}
    agent = create_agent(llm.model_copy(update=once), [get_weather])

    question = HumanMessage("What is the weather in Paris for the next 3 days?")
    state = agent.invoke({"messages": [question]}, {"recursion_limit": 8})

    _, asked, told, answer = state["messages"]
    assert [{"city": "Paris", "days": 3}] == [call["args"] for call in asked.tool_calls]
    assert "It will be sunny in Paris for 3 days." == told.text
    assert "sunny" in answer.text.lower()


class Place(BaseModel):
    """Where something is."""

    city: Literal["Oslo", "Paris", "Rome"]
    tags: set[Literal["north", "south"]] = Field(max_length=2)


def test_an_agent_answers_in_the_form_that_is_asked_for(llm: ChatMlxcel) -> None:
    agent: Any = create_agent(llm, response_format=Place)

    state = agent.invoke({"messages": [HumanMessage("The meeting is in Oslo. Where is it?")]})

    assert "Oslo" == state["structured_response"].city


@pytest.mark.parametrize("name", ANSWERS)
def test_the_engine_goes_on_with_a_conversation_of_another_provider(
    llm: ChatMlxcel, name: str
) -> None:
    messages = [
        HumanMessage("What is the weather in Paris and Rome?"),
        ANSWERS[name],
        ToolMessage("It is sunny.", tool_call_id="call_1"),
        ToolMessage("It is raining.", tool_call_id="call_2"),
        HumanMessage("Name a colour."),
    ]

    answer = llm.invoke(messages, max_tokens=8)

    assert answer.text
    assert answer.usage_metadata is not None
    counted = llm.get_num_tokens_from_messages(messages)
    assert counted == answer.usage_metadata["input_tokens"]


def test_a_tool_can_be_named(llm: ChatMlxcel) -> None:
    """The engine itself ignores the name, and would let the model choose."""

    def news() -> None:
        """Return the news."""

    bound = llm.bind_tools([get_weather, news], tool_choice="news", max_tokens=64)

    calls = bound.invoke("What is the weather in Paris?").tool_calls

    assert [("news", {})] == [(call["name"], call["args"]) for call in calls]


def test_a_required_call_is_made_although_the_answer_is_known(llm: ChatMlxcel) -> None:
    """The engine itself would let the model answer in words."""

    def crates(n: int) -> None:
        """Count the crates in a house."""

    bound = llm.bind_tools([crates], tool_choice="any", max_tokens=200)
    call = {"name": "crates", "args": {"n": 3}, "id": "1"}
    known = [AIMessage("", tool_calls=[call]), ToolMessage("0 found.", tool_call_id="1")]

    answer = bound.invoke([HumanMessage("How many crates are in house 3?"), *known])

    assert ["crates"] == [call["name"] for call in answer.tool_calls]


def test_several_required_calls_are_made_until_one_is_repeated(llm: ChatMlxcel) -> None:
    """The engine itself would let the model answer in words."""

    def news() -> None:
        """Return the news."""

    bound = llm.bind_tools([news], tool_choice="any", parallel_tool_calls=True, max_tokens=200)

    answer = bound.invoke("Good morning! Who are you?")

    assert [("news", {})] == [(call["name"], call["args"]) for call in answer.tool_calls]
    assert ("", "tool_calls") == (answer.text, answer.response_metadata["finish_reason"])


def test_the_profile_holds_the_context_of_a_slot(llm: ChatMlxcel) -> None:
    profile = llm.refresh_profile()

    assert (True, True) == (profile["tool_calling"], profile["structured_output"])
    assert profile["max_input_tokens"] > 512
    assert profile["image_inputs"] is False


def test_a_completion_stops_and_frees_its_slot(
    server: ManagedServer, slots: Callable[[], int]
) -> None:
    with MlxcelLLM(socket=server.socket, temperature=0, max_tokens=8) as base:
        prompts = ["Paris is the capital of France, and Rome is the capital of"] * 3
        assert ["Italy"] * 3 == [text.split(".")[0].strip() for text in base.batch(prompts)]
        endless_base = {"max_tokens": 2000, "extra_body": {"ignore_eos": True}}
        for _ in base.stream(LONG, **endless_base):
            break
        assert within(0.2, slots, 0)
        with pytest.raises(openai.APIStatusError, match="nfill"):
            base.invoke("def f():", suffix="return x")


def test_64_threads_get_right_answers_from_one_object(llm: ChatMlxcel) -> None:
    expected = llm.invoke("What is the capital of France?").text
    short = llm.model_copy(update={"max_tokens": 2})

    with ThreadPoolExecutor(64) as pool:
        answers = list(
            pool.map(lambda _: short.invoke("What is the capital of France?").text, range(64))
        )

    assert {expected[: len(answers[0])]} == set(answers)


def test_a_prompt_longer_than_the_context_is_an_overflow_with_both_numbers(
    llm: ChatMlxcel,
) -> None:
    with pytest.raises(ContextOverflowError, match="ctx_size") as caught:
        llm.invoke("word " * 20_000)

    assert isinstance(caught.value, openai.BadRequestError)
    assert caught.value.n_prompt_tokens > caught.value.n_ctx > 0  # type: ignore[attr-defined]  # of our class


def test_a_file_that_is_no_model_is_a_clear_error(tmp_path: object) -> None:
    path = f"{tmp_path}/broken.gguf"
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(b"this is no model")

    with pytest.raises(MlxcelServerError, match="Error: ") as caught:
        ChatMlxcel(model=path).invoke("x")

    assert 1 == caught.value.returncode
    assert path in caught.value.stderr


LOOPS = """
import asyncio, logging
from mlxcel_integrations.langchain import ChatMlxcel

llm = ChatMlxcel(model="embedded", temperature=0, max_tokens=2)
# A busy machine makes callbacks slow, of which asyncio warns.
logging.getLogger("asyncio").setLevel(logging.ERROR)
answers = {asyncio.run(llm.ainvoke("What is the capital of France?")).text for _ in range(20)}
assert len(answers) == 1, answers
print(answers)
"""


def test_20_event_loops_and_no_close_leave_no_warning_behind() -> None:
    done = subprocess.run(
        [sys.executable, *WARNINGS_ARE_ERRORS, "-X", "dev", "-c", LOOPS],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert "Paris" in done.stdout
