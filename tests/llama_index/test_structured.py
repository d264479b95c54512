"""Objects from ``Mlxcel``: their requests, their answers, and their events."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.prompts import ChatPromptTemplate, SelectorPromptTemplate
from llama_index.core.prompts.utils import is_chat_model
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, Field, field_validator

from mlxcel_integrations import MlxcelError, StructuredOutputError, StructuredOutputTruncated
from mlxcel_integrations.llama_index import Mlxcel
from tests.fakes.server import FakeServer, Reply


class Song(BaseModel):
    """A song."""

    name: str
    seconds: int | None = None


class Album(BaseModel):
    """A record."""

    title: str
    songs: list[Song] = Field(description='In their "order".')

    @field_validator("title")
    @classmethod
    def _has_letters(cls, title: str) -> str:
        if not title.isalpha():
            raise ValueError("a title has letters only")
        return title


TEXT = '{"title": "Blue", "songs": [{"name": "One", "seconds": 61}, {"name": "Two"}]}'
LONG = json.dumps({"title": "Blue", "songs": [{"name": str(n)} for n in range(1000)]})
"""An answer that is still on its way when it is left."""

BLUE = Album.model_validate_json(TEXT)
PROMPT = PromptTemplate("Name a record about {topic}.")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer("v0.4.2") as running:
        yield running


Way = Callable[..., list[Any]]


def predict(llm: Mlxcel, prompt: Any = PROMPT, **kwargs: Any) -> list[Any]:
    return [llm.structured_predict(Album, prompt, topic="cats", **kwargs)]


def apredict(llm: Mlxcel, prompt: Any = PROMPT, **kwargs: Any) -> list[Any]:
    return [asyncio.run(llm.astructured_predict(Album, prompt, topic="cats", **kwargs))]


def stream(llm: Mlxcel, prompt: Any = PROMPT, **kwargs: Any) -> list[Any]:
    return list(llm.stream_structured_predict(Album, prompt, topic="cats", **kwargs))


def astream(llm: Mlxcel, prompt: Any = PROMPT, **kwargs: Any) -> list[Any]:
    async def run() -> list[Any]:
        made = await llm.astream_structured_predict(Album, prompt, topic="cats", **kwargs)
        return [part async for part in made]

    return asyncio.run(run())


WAYS = [predict, apredict, stream, astream]
STREAMS = [stream, astream]
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
every_stream = pytest.mark.parametrize("way", STREAMS, ids=lambda way: way.__name__)

# --------------------------------------------------------------------------- what is sent


@every_way
def test_the_schema_is_enforced_and_shown(server: FakeServer, way: Way) -> None:
    server.script(Reply.text(TEXT))
    with Mlxcel(base_url=server.url, system_prompt="Be brief.", max_tokens=99, seed=1) as llm:
        fields = {"seed": 2, "tool_choice": "required", "bounded": False}
        assert BLUE == way(llm, llm_kwargs=fields)[-1]

    body = server.posts[-1].json
    schema = body["response_format"]["json_schema"]["schema"]
    assert {"title", "songs"} == schema["properties"].keys()
    system, user = body["messages"]
    assert {"role": "system", "content": "Be brief."} == system
    question, shown = user["content"].split("\n\nAnswer with JSON that fits this JSON schema:\n")
    assert ("user", "Name a record about cats.") == (user["role"], question)
    assert schema == json.loads(shown)
    assert (2, 99) == (body["seed"], body["max_tokens"])
    assert {"enable_thinking": False} == body["chat_template_kwargs"]
    assert not body.keys() & {"tools", "tool_choice", "bounded", "show_schema"}


@every_way
def test_what_the_caller_gives_stays_as_it_is(server: FakeServer, llm: Mlxcel, way: Way) -> None:
    prompt, kwargs = PromptTemplate("Name a record about {topic}."), {"tool_choice": "x"}
    before = prompt.model_copy(deep=True)
    way(llm, prompt, llm_kwargs=kwargs)

    assert before == prompt
    assert {"tool_choice": "x"} == kwargs
    assert "echo: Name a record about cats." == llm.predict(prompt, topic="cats")


@every_way
def test_a_prompt_selector_sees_the_model(server: FakeServer, llm: Mlxcel, way: Way) -> None:
    chat = ChatPromptTemplate([ChatMessage("About {topic}, in chat.", role=MessageRole.USER)])
    way(llm, SelectorPromptTemplate(PROMPT, [(is_chat_model, chat)]))

    question = server.posts[-1].json["messages"][-1]["content"]
    assert question.startswith("About cats, in chat.\n\n")


@pytest.mark.parametrize(
    ("own", "call", "sent"),
    [
        ({}, {}, {"enable_thinking": False}),
        ({"chat_template_kwargs": {"a": 1}}, {}, {"enable_thinking": False, "a": 1}),
        ({"reasoning": True}, {}, {"enable_thinking": True}),
        ({"reasoning": True}, {"reasoning": False}, {"enable_thinking": False}),
        (
            {},
            {"chat_template_kwargs": {"enable_thinking": True}},
            {"enable_thinking": True},
        ),
    ],
)
def test_thinking_is_off_unless_it_is_asked_for(
    server: FakeServer, own: dict[str, Any], call: dict[str, Any], sent: dict[str, Any]
) -> None:
    with Mlxcel(base_url=server.url, **own) as llm:
        predict(llm, llm_kwargs=call)
    assert sent == server.posts[0].json["chat_template_kwargs"]


def test_a_class_without_a_schema_is_refused_before_anything_is_sent(
    server: FakeServer, llm: Mlxcel
) -> None:
    class Odd(BaseModel):
        call: Callable[[], None]

    with pytest.raises(MlxcelError, match="No schema can be made from"):
        llm.structured_predict(Odd, PROMPT, topic="cats")
    with pytest.raises(MlxcelError, match="drop one of them"):
        predict(llm, llm_kwargs={"response_format": {"type": "json_object"}})
    assert [] == server.posts


# --------------------------------------------------------------------------- what comes


@every_stream
def test_a_stream_grows_and_ends_complete(server: FakeServer, llm: Mlxcel, way: Way) -> None:
    server.script(Reply.text(TEXT))
    parts = way(llm)

    assert all(isinstance(part, Album) and part.model_fields_set for part in parts)
    assert all(isinstance(song, Song) for part in parts for song in part.songs or ())
    counts = [len(part.songs or ()) for part in parts]
    assert {0, 1, 2} == set(counts)
    assert sorted(counts) == counts
    assert (BLUE, "Blue") == (parts[-1], parts[0].title)
    # As events and StructuredLLM show them, with no complaint about what has not come.
    assert [part.model_dump_json() for part in parts]


@every_way
@pytest.mark.parametrize(
    ("reply", "error", "partial"),
    [
        (Reply.text(TEXT[:60], finish="length"), StructuredOutputTruncated, "Blue"),
        (Reply.text("", finish="length"), StructuredOutputTruncated, None),
        (Reply.text(""), StructuredOutputError, None),
        (Reply.text("Sure!"), StructuredOutputError, None),
        (Reply.text('{"title": "1", "songs": []}'), StructuredOutputError, None),
    ],
    ids=["cut", "cut at once", "empty", "prose", "misfit"],
)
def test_what_is_no_answer_is_an_error_that_tells_what_came(
    server: FakeServer,
    llm: Mlxcel,
    way: Way,
    reply: Reply,
    error: type[StructuredOutputError],
    partial: str | None,
) -> None:
    server.script(reply)
    with pytest.raises(StructuredOutputError) as caught:
        way(llm, llm_kwargs={"max_attempts": 1})

    assert reply.answer is not None
    truncated = isinstance(caught.value, StructuredOutputTruncated)
    assert (error is StructuredOutputTruncated) == truncated
    assert reply.answer.text == caught.value.raw
    if partial:
        assert "raise max_tokens" in str(caught.value)
        assert partial == caught.value.partial["title"]  # type: ignore[attr-defined] # as above


@every_stream
def test_leaving_a_stream_frees_the_server(server: FakeServer, llm: Mlxcel, way: Way) -> None:
    server.script(Reply.text(LONG, delay=0.02))

    async def leave() -> None:
        made = await llm.astream_structured_predict(Album, PROMPT, topic="cats")
        async with contextlib.aclosing(made) as parts:
            await anext(parts)
        assert await asyncio.to_thread(server.wait_disconnect)

    if way is astream:
        asyncio.run(leave())
    else:
        parts = llm.stream_structured_predict(Album, PROMPT, topic="cats")
        next(parts)
        parts.close()
        assert server.wait_disconnect()


def test_cancelling_a_call_frees_the_server(server: FakeServer, llm: Mlxcel) -> None:
    server.script(Reply.text(LONG, delay=0.02))

    async def cancel() -> None:
        task = asyncio.create_task(llm.astructured_predict(Album, PROMPT, topic="cats"))
        await asyncio.to_thread(server.wait_post)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.wait_disconnect)

    asyncio.run(cancel())


# --------------------------------------------------------------------------- what is told


class Events(BaseEventHandler):
    """Keep the names of events."""

    seen: list[str] = Field(default_factory=list)

    def handle(self, event: Any, **kwargs: Any) -> None:
        event.model_dump()
        self.seen.append(type(event).__name__)


@pytest.fixture
def events() -> Iterator[list[str]]:
    root, handler = get_dispatcher(), Events()
    root.add_event_handler(handler)
    yield handler.seen
    root.event_handlers.remove(handler)


@every_way
def test_each_event_comes_once(
    server: FakeServer, llm: Mlxcel, events: list[str], way: Way
) -> None:
    server.script(Reply.text(TEXT))
    parts = way(llm)

    once = {name: events.count(name) for name in events if "InProgress" not in name}
    assert {
        "LLMStructuredPredictStartEvent": 1,
        "LLMChatStartEvent": 1,
        "LLMChatEndEvent": 1,
        "LLMStructuredPredictEndEvent": 1,
    } == once
    assert list(once) == [name for name in events if name in once]
    shown = len(parts) if way in STREAMS else 0
    assert shown == events.count("LLMStructuredPredictInProgressEvent")


# --------------------------------------------------------------------------- other programs


@every_way
def test_a_chosen_program_is_used(server: FakeServer, way: Way) -> None:
    prompt = PromptTemplate("Name a record about {topic}.")
    before = prompt.model_copy(deep=True)
    server.script(*[Reply.text(TEXT)] * 2)
    text, function = PydanticProgramMode.LLM, PydanticProgramMode.FUNCTION
    with Mlxcel(base_url=server.url, pydantic_program_mode=text) as llm:
        assert BLUE == way(llm, prompt)[-1]
    with Mlxcel(base_url=server.url, pydantic_program_mode=function) as llm:
        assert BLUE == way(llm, prompt)[-1]

    by_text, by_function = (post.json for post in server.posts)
    assert "response_format" not in by_text
    assert "{{" in by_text["messages"][-1]["content"]  # core's way of showing it
    assert "response_format" in by_function
    assert before == prompt


# --------------------------------------------------------------------------- further attempts

MISFIT = '{"title": "1", "songs": []}'


@every_way
@pytest.mark.parametrize("text", [MISFIT, TEXT[:40]], ids=["misfit", "cut"])
def test_an_answer_that_does_not_fit_is_asked_for_again(
    server: FakeServer, llm: Mlxcel, events: list[str], way: Way, text: str
) -> None:
    server.script(Reply.text(text), Reply.text(TEXT))

    assert BLUE == way(llm)[-1]

    assert "Your last answer" in server.posts[1].json["messages"][-1]["content"]
    assert 2 == len(server.posts) == events.count("LLMChatStartEvent")
    assert 1 == events.count("LLMStructuredPredictEndEvent")


@every_way
def test_there_are_as_many_attempts_as_wanted(server: FakeServer, llm: Mlxcel, way: Way) -> None:
    server.script(*[Reply.text(MISFIT)] * 3)

    with pytest.raises(ValueError, match="letters only"):
        way(llm, llm_kwargs={"max_attempts": 3})
    assert 3 == len(server.posts)
    with pytest.raises(MlxcelError, match="max_attempts=0"):
        way(llm, llm_kwargs={"max_attempts": 0})


@every_way
def test_a_program_asks_again_as_well(server: FakeServer, llm: Mlxcel, way: Way) -> None:
    llm.pydantic_program_mode = PydanticProgramMode.FUNCTION
    server.script(Reply.text(TEXT[:40]), Reply.text(TEXT))

    assert BLUE == way(llm)[-1]
    assert 2 == len(server.posts)
