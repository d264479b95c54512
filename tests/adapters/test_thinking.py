"""Thoughts before an answer with a schema, where each framework keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from tests.fakes.answers import Json
from tests.fakes.server import FakeServer, Reply

THOUGHTS = "Oslo has more."

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")


class City(BaseModel):
    name: str
    people: int


ANSWER = City(name="x", people=1)


def thinks(body: Json) -> Reply | None:
    if "response_format" in body:
        return None
    return Reply.text("It is Oslo.", reasoning=THOUGHTS)


@pytest.fixture(params=["v0.4.2", "newest"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    with FakeServer(request.param) as running:
        running.think = thinks
        yield running


Result = tuple[Any, str]
"""The object, and the thoughts before it."""


def collected(stream: Any) -> list[Any]:
    async def items() -> list[Any]:
        return [item async for item in stream]

    return asyncio.run(items())


def chat_model(server: FakeServer, **options: Any) -> Any:
    pytest.importorskip("langchain_core", reason="this framework is not installed")
    from mlxcel_integrations.langchain import ChatMlxcel

    return ChatMlxcel(base_url=server.url, **options)


def raw_result(answer: Any) -> Result:
    return answer["parsed"], answer["raw"].additional_kwargs["reasoning_content"]


def raw_parts(parts: list[Any]) -> Result:
    first = next(index for index, part in enumerate(parts) if part.get("parsed"))
    thoughts = [
        part["raw"].additional_kwargs.get("reasoning_content", "")
        for part in parts[:first]
        if "raw" in part
    ]
    return parts[-1]["parsed"], "".join(thoughts)


def structured(server: FakeServer) -> Any:
    return chat_model(server, reasoning=True).with_structured_output(City, include_raw=True)


def agent_state(server: FakeServer) -> Any:
    agents = pytest.importorskip("langchain.agents", reason="langchain is not installed")
    return agents.create_agent(chat_model(server, reasoning="low"), response_format=City)


def agent_result(state: Any) -> Result:
    thoughts = state["messages"][-1].additional_kwargs["reasoning_content"]
    return state["structured_response"], thoughts


QUESTION = {"messages": [("user", "Which?")]}


def index_model(server: FakeServer, **options: Any) -> Any:
    pytest.importorskip("llama_index.core", reason="this framework is not installed")
    from mlxcel_integrations.llama_index import Mlxcel

    return Mlxcel(base_url=server.url, **options)


def chat_result(response: Any) -> Result:
    thinking, text = response.message.blocks
    return City.model_validate_json(text.text), thinking.content


def asked(server: FakeServer) -> list[Any]:
    from llama_index.core.llms import ChatMessage

    return [ChatMessage("Which?")]


def prompt() -> Any:
    from llama_index.core.prompts import PromptTemplate

    return PromptTemplate("Which?")


def chat(server: FakeServer, name: str) -> Any:
    model = index_model(server, reasoning=True, response_format=City)
    return getattr(model, name)(asked(server))


async def last(stream: Any) -> Any:
    return [chunk async for chunk in await stream][-1]


WAYS: dict[str, Callable[[FakeServer], Result]] = {
    "LangChain invoke": lambda server: raw_result(structured(server).invoke("Which?")),
    "LangChain ainvoke": lambda server: raw_result(asyncio.run(structured(server).ainvoke("?"))),
    "LangChain stream": lambda server: raw_parts(list(structured(server).stream("Which?"))),
    "LangChain astream": lambda server: raw_parts(collected(structured(server).astream("?"))),
    "LangChain call": lambda server: raw_result(
        chat_model(server)
        .with_structured_output(City, include_raw=True, reasoning="low")
        .invoke("Which?")
    ),
    "LangChain agent": lambda server: agent_result(agent_state(server).invoke(QUESTION)),
    "LangChain async agent": lambda server: agent_result(
        asyncio.run(agent_state(server).ainvoke(QUESTION))
    ),
    "LlamaIndex chat": lambda server: chat_result(chat(server, "chat")),
    "LlamaIndex achat": lambda server: chat_result(asyncio.run(chat(server, "achat"))),
    "LlamaIndex stream_chat": lambda server: chat_result(list(chat(server, "stream_chat"))[-1]),
    "LlamaIndex astream_chat": lambda server: chat_result(
        asyncio.run(last(chat(server, "astream_chat")))
    ),
}


@pytest.mark.parametrize("ask", WAYS.values(), ids=WAYS)
def test_messages_have_the_thoughts_and_the_object(
    ask: Callable[[FakeServer], Result], server: FakeServer
) -> None:
    assert (ANSWER, THOUGHTS) == ask(server)
    assert [False, True] == ["response_format" in seen.json for seen in server.posts]


def predict(server: FakeServer, name: str, **options: Any) -> Any:
    return getattr(index_model(server, **options), name)


def program(server: FakeServer) -> Any:
    programs = pytest.importorskip("llama_index.core.program", reason="it is not installed")
    return programs.FunctionCallingProgram.from_defaults(
        City, llm=index_model(server, reasoning=True), prompt_template_str="Which?"
    )


OBJECTS: dict[str, Callable[[FakeServer], Any]] = {
    "structured_predict": lambda server: predict(server, "structured_predict", reasoning=True)(
        City, prompt()
    ),
    "astructured_predict": lambda server: asyncio.run(
        predict(server, "astructured_predict", reasoning=True)(City, prompt())
    ),
    "stream_structured_predict": lambda server: list(
        predict(server, "stream_structured_predict", reasoning=True)(City, prompt())
    )[-1],
    "astream_structured_predict": lambda server: asyncio.run(
        last(predict(server, "astream_structured_predict", reasoning=True)(City, prompt()))
    ),
    "llm_kwargs": lambda server: predict(server, "structured_predict")(
        City, prompt(), llm_kwargs={"reasoning": "low"}
    ),
    "as_structured_llm": lambda server: (
        index_model(server, reasoning=True).as_structured_llm(City).chat(asked(server)).raw
    ),
    "program": lambda server: program(server)(),
}


@pytest.mark.parametrize("ask", OBJECTS.values(), ids=OBJECTS)
def test_objects_of_llama_index_come_after_thoughts(
    ask: Callable[[FakeServer], Any], server: FakeServer
) -> None:
    pytest.importorskip("llama_index.core", reason="this framework is not installed")

    assert ANSWER == ask(server)
    assert [False, True] == ["response_format" in seen.json for seen in server.posts]
    assert THOUGHTS in server.posts[1].json["messages"][-1]["content"]


@pytest.mark.parametrize("in_call", [False, True])
@pytest.mark.parametrize("make", [chat_model, index_model])
def test_an_effort_may_have_the_form_of_openai(
    server: FakeServer, make: Any, in_call: bool
) -> None:
    effort = {"reasoning": {"effort": "low", "summary": "auto"}}
    model = make(server, **({} if in_call else effort))
    ask = model.invoke if make is chat_model else model.chat

    ask(["x"] if make is chat_model else asked(server), **(effort if in_call else {}))

    sent = server.posts[-1].json
    assert {"enable_thinking": True, "reasoning_effort": "low"} == sent["chat_template_kwargs"]
    assert "reasoning" not in sent
