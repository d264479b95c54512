"""The FastAPI app of the documentation frees the slot when its client leaves."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain.agents import create_agent

from mlxcel_integrations import ManagedServer
from mlxcel_integrations.langchain import ChatMlxcel
from tests.fakes.slots import busy_slots, within
from tests.left_streams import LOOPS

pytest.importorskip("fastapi", reason="FastAPI is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")

pytestmark = pytest.mark.engine

PAGE = Path(__file__).parents[2] / "docs" / "tools.md"
EXAMPLE = re.compile(
    r"test_web_server\.py .*? -->\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
QUESTION = {"question": "Repeat the word sea for ever: sea sea sea sea sea sea"}


@pytest.fixture(scope="module")
def engine() -> Iterator[ManagedServer]:
    with ManagedServer("embedded") as running:
        yield running


@pytest.fixture
def llm(engine: ManagedServer) -> Iterator[ChatMlxcel]:
    endless = {"ignore_eos": True}
    with ChatMlxcel(socket=engine.socket, max_tokens=2000, extra_body=endless) as model:
        yield model


@pytest.fixture
def slots(engine: ManagedServer) -> Iterator[Callable[[], int]]:
    assert engine.socket is not None
    with busy_slots(engine.socket) as count:
        yield count


def example() -> dict[str, Any]:
    """Return the names that the example defines."""
    found = EXAMPLE.search(PAGE.read_text())
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    return names


@contextlib.contextmanager
def served(app: Any, loop: str) -> Iterator[httpx.Client]:
    """Serve an app in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_level="warning", loop="uvloop" if loop == "uvloop" else "asyncio"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.005)
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("loop", ["asyncio", LOOPS[-1]])
def test_a_client_that_leaves_frees_the_slot(
    llm: ChatMlxcel, slots: Callable[[], int], loop: str
) -> None:
    names = example()
    names["agent"] = create_agent(llm)
    with served(names["app"], loop) as client:
        with client.stream("GET", "/answer", params=QUESTION) as response:
            assert next(response.iter_text())
            assert 1 == slots()

        assert within(0.2, slots, 0)


def test_an_answer_that_is_read_to_its_end_is_whole(llm: ChatMlxcel) -> None:
    names = example()
    names["agent"] = create_agent(llm.model_copy(update={"max_tokens": 8}))
    with served(names["app"], "asyncio") as client:
        answer = client.get("/answer", params=QUESTION).raise_for_status()

    assert answer.text
