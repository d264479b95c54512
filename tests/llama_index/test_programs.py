"""LlamaIndex's programs, which call a tool to get an object, on both server generations."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.program import FunctionCallingProgram
from llama_index.core.program.function_program import get_function_tool
from pydantic import BaseModel

from mlxcel_integrations import StructuredOutputTruncated
from mlxcel_integrations.llama_index import Mlxcel
from tests.fakes.model import capable
from tests.fakes.server import FakeServer, Reply
from tests.llama_index.tool_calls import made, ways


@pytest.fixture(params=["newest", "v0.4.2"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    with FakeServer(request.param) as running:
        running.think = capable
        yield running


class Tree(BaseModel):
    """A tree."""

    name: str
    leaves: list[str]


TEXT = '{"name": "oak", "leaves": ["a", "b"]}'
OAK = Tree(name="oak", leaves=["a", "b"])


def programs(llm: Mlxcel, **kwargs: Any) -> list[Any]:
    """Ask for an object by a program in all four ways."""
    prompt = PromptTemplate("Name a tree of {kind}.")
    program = FunctionCallingProgram.from_defaults(Tree, llm=llm, prompt=prompt, **kwargs)

    async def asynchronous() -> list[Any]:
        parts = [part async for part in await program.astream_call(kind="wood")]
        return [await program.acall(kind="wood"), parts]

    answers = [program(kind="wood"), list(program.stream_call(kind="wood"))]
    return answers + asyncio.run(asynchronous())


@pytest.mark.parametrize("required", [True, False])
def test_a_program_gets_its_object_by_the_constraint(
    server: FakeServer, llm: Mlxcel, required: bool
) -> None:
    server.script(*[Reply.text(TEXT)] * 4)
    whole, parts, async_whole, async_parts = programs(llm, tool_required=required)

    assert (OAK, OAK) == (whole, async_whole)
    for growing in (parts, async_parts):
        assert OAK == growing[-1]
        assert all(part.name for part in growing)
        assert ["a"] in [part.leaves for part in growing]
    assert {True} == {"response_format" in post.json for post in server.posts}
    assert {False} == {"tools" in post.json for post in server.posts}


@pytest.mark.parametrize("index", range(4))
def test_a_program_says_when_its_answer_was_cut(
    server: FakeServer, llm: Mlxcel, index: int
) -> None:
    replies = [Reply.text(TEXT) for _ in range(4)]
    replies[index : index + 1] = [Reply.text(TEXT[:20], finish="length")] * 2
    server.script(*replies)

    with pytest.raises(StructuredOutputTruncated) as caught:
        programs(llm)
    assert {"name": "oak"} == caught.value.partial
    assert index + 2 == len(server.posts)


def test_leaving_a_program_frees_the_server(server: FakeServer, llm: Mlxcel) -> None:
    prompt = PromptTemplate("Name a tree.")
    program = FunctionCallingProgram.from_defaults(Tree, llm=llm, prompt=prompt)
    tree = {"name": "oak", "leaves": [str(number) for number in range(1000)]}
    server.script(*[Reply.text(json.dumps(tree), delay=0.02)] * 2)

    async def leave() -> None:
        async with contextlib.aclosing(await program.astream_call()) as parts:
            await anext(parts)
        assert await asyncio.to_thread(server.wait_disconnect)

    parts = program.stream_call()
    next(parts)
    parts.close()
    assert server.wait_disconnect()
    server.disconnected.clear()
    asyncio.run(leave())


def test_a_program_for_several_objects_may_get_several(server: FakeServer, llm: Mlxcel) -> None:
    calls = [{"name": "Tree", "arguments": {"name": name, "leaves": []}} for name in "ab"]
    server.script(*[Reply.text(tool_calls=calls)] * 4)
    trees = [Tree(name=name, leaves=[]) for name in "ab"]

    whole, parts, async_whole, async_parts = programs(
        llm, allow_parallel_tool_calls=True, tool_required=False
    )

    assert [trees] * 4 == [whole, parts[-1], async_whole, async_parts[-1]]


def test_an_agent_that_is_given_a_programs_tool_gets_calls(server: FakeServer, llm: Mlxcel) -> None:
    tool = get_function_tool(Tree)
    for response in ways(llm, [tool], tool_required=True):
        assert [("Tree", {"name": "x", "leaves": ["x"]})] == made(llm, response)


def test_a_program_does_without_a_template_for_tools(server: FakeServer, llm: Mlxcel) -> None:
    server.route("/health", Reply.json({"status": "ok", "tool_call_parser": None}))
    response = llm.chat_with_tools([get_function_tool(Tree)], "Name a tree.", tool_choice=None)
    assert [("Tree", {"name": "x", "leaves": ["x"]})] == made(llm, response)
