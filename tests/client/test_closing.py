"""Objects after they were closed: they refuse requests, in both modes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations import LLM, AsyncLLM, MlxcelError
from mlxcel_integrations.langchain import ChatMlxcel
from tests.fakes.program import executable
from tests.fakes.server import FakeServer

REFUSED = r"was closed: make a new object to use it again\.$"
CALLS: list[Callable[[Any], Any]] = [
    lambda llm: llm.chat("hi"),
    lambda llm: llm.generate("hi"),
    lambda llm: llm.tokenize("hi"),
    lambda llm: llm.embed(["hi"]),
    lambda llm: llm.models(),
    lambda llm: llm.start(),
    lambda llm: llm.openai_client,
]


@pytest.fixture(params=["managed", "connect", "socket"])
def options(request: pytest.FixtureRequest, server: FakeServer, tmp_path: Path) -> dict[str, Any]:
    """Where the server is, or how to start one."""
    if request.param == "managed":
        return {"model": "m", "binary": executable(tmp_path), "restart": 0}
    return {"base_url": server.url} if request.param == "connect" else {"socket": server.socket}


IN_MODES = pytest.mark.parametrize(
    ("options", "place"),
    [("managed", "tcp"), ("connect", "tcp"), ("socket", "unix")],
    indirect=True,
)


async def test_the_wrong_kind_of_block_is_told_before_it_is_entered() -> None:
    with pytest.raises(MlxcelError, match="LLM is synchronous: use `with`, or AsyncLLM"):
        async with LLM(base_url="http://localhost:1"):
            pass
    wrong = AsyncLLM(base_url="http://localhost:1")
    with pytest.raises(MlxcelError, match="is asynchronous: use `async with`, or LLM"), wrong:
        pass


@IN_MODES
def test_a_closed_client_refuses_everything(options: dict[str, Any]) -> None:
    with LLM(**options) as llm:
        assert llm.chat("hi")
    for call in CALLS:
        with pytest.raises(MlxcelError, match=REFUSED):
            call(llm)
    with pytest.raises(MlxcelError, match=REFUSED), llm:
        pass
    llm.close()


@IN_MODES
async def test_a_closed_asynchronous_client_refuses_everything(options: dict[str, Any]) -> None:
    async with AsyncLLM(**options) as llm:
        assert await llm.chat("hi")
    for call in CALLS:
        with pytest.raises(MlxcelError, match=REFUSED):
            await call(llm)
    await llm.close()


@IN_MODES
def test_a_closed_adapter_refuses_requests_of_both_kinds(options: dict[str, Any]) -> None:
    with ChatMlxcel(**options) as llm:
        assert llm.invoke("hi").text

    with pytest.raises(MlxcelError, match=REFUSED):
        llm.invoke("hi")
    with pytest.raises(MlxcelError, match=REFUSED):
        asyncio.run(llm.ainvoke("hi"))
    assert "ChatMlxcel" in repr(llm)


@pytest.mark.parametrize("place", ["tcp"], indirect=True)
def test_an_answer_that_is_being_read_goes_on(server: FakeServer) -> None:
    llm = LLM(base_url=server.url)
    pieces = llm.chat_stream("one two three")
    first = next(pieces)
    llm._connection.release()

    assert "echo: one two three" == first + "".join(pieces)


@pytest.mark.parametrize("place", ["tcp"], indirect=True)
def test_other_objects_for_the_same_server_go_on(server: FakeServer) -> None:
    with LLM(base_url=server.url) as llm:
        with LLM(base_url=server.url):
            pass

        assert "echo: hi" == llm.chat("hi")
