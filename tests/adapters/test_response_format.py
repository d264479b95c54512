"""A ``response_format`` of a request: shown to the model, and refused if no answer has room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from mlxcel_integrations import LLM, MlxcelError
from tests.fakes.server import FakeServer


class City(BaseModel):
    name: str
    people: int


SHOWN = 'Which?\n\nAnswer with JSON that fits this JSON schema:\n{"properties":'


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def langchain(server: FakeServer, **fields: Any) -> Any:
    pytest.importorskip("langchain_core", reason="this framework is not installed")
    from mlxcel_integrations.langchain import ChatMlxcel

    return ChatMlxcel(base_url=server.url, **fields)


def llama_index(server: FakeServer, **fields: Any) -> Any:
    pytest.importorskip("llama_index.core", reason="this framework is not installed")
    from mlxcel_integrations.llama_index import Mlxcel

    return Mlxcel(base_url=server.url, **fields)


def asked() -> list[Any]:
    from llama_index.core.llms import ChatMessage

    return [ChatMessage("Which?")]


def core(server: FakeServer, **fields: Any) -> Any:
    with LLM(base_url=server.url) as llm:
        return llm.chat("Which?", **fields)


WAYS: dict[str, Callable[..., Any]] = {
    "core": core,
    "LangChain call": lambda server, **more: langchain(server).invoke("Which?", **more),
    "LangChain model": lambda server, **more: langchain(server, **more).invoke("Which?"),
    "LlamaIndex call": lambda server, **more: llama_index(server).chat(asked(), **more),
    "LlamaIndex model": lambda server, **more: llama_index(server, **more).chat(asked()),
    "LlamaIndex async": lambda server, **more: asyncio.run(
        llama_index(server).achat(asked(), **more)
    ),
    "LlamaIndex stream": lambda server, **more: list(
        llama_index(server).stream_chat(asked(), **more)
    ),
}

FORMATS = {
    "class": City,
    "schema": City.model_json_schema(),
    "whole format": {
        "type": "json_schema",
        "json_schema": {"name": "City", "schema": City.model_json_schema()},
    },
}


@pytest.mark.parametrize("response_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_schema_is_at_the_end_of_the_last_message(
    server: FakeServer, way: Callable[..., Any], response_format: Any
) -> None:
    way(server, response_format=response_format)

    [post] = server.posts
    assert SHOWN == post.json["messages"][-1]["content"][: len(SHOWN)]
    assert {"name", "people"} == set(
        post.json["response_format"]["json_schema"]["schema"]["properties"]
    )


@pytest.mark.parametrize("response_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_too_few_tokens_for_the_smallest_answer_are_refused_before_anything_is_sent(
    server: FakeServer, way: Callable[..., Any], response_format: Any
) -> None:
    with pytest.raises(
        MlxcelError, match=r"^max_tokens=3 is too small: the smallest answer .* at least 5 tokens"
    ):
        way(server, response_format=response_format, max_tokens=3)

    assert [] == server.posts


def test_a_format_in_extra_body_is_sent_unchecked(server: FakeServer) -> None:
    given = {"response_format": FORMATS["whole format"], "max_tokens": 1}

    core(server, extra_body=given)

    [post] = server.posts
    assert given == {name: post.json[name] for name in given}
