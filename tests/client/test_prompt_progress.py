"""Progress of a prompt before the first token: passed on, asked for only where it is known."""

from __future__ import annotations

import time
from typing import Any

import openai
import pytest

from mlxcel_integrations import MlxcelError, MlxcelStreamError, PromptProgress
from tests.fakes.answers import Generation
from tests.fakes.server import FakeServer, Reply
from tests.fakes.wire import LLAMA_CPP, dumps, event, progress

pytestmark = pytest.mark.parametrize("place", ["tcp"], indirect=True)

FRAMES = [progress(0), progress(512), progress(400), progress(2000)]
TOKEN = {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}
END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


@pytest.fixture
def llama_cpp(server: FakeServer) -> FakeServer:
    server.route("/props", Reply.json(LLAMA_CPP))
    return server


def test_progress_is_told_before_the_first_token(client: Any, llama_cpp: FakeServer) -> None:
    llama_cpp.script(Reply.events([*FRAMES, TOKEN, END]))
    seen: list[PromptProgress] = []

    assert ["Hi"] == client.chat_stream("hi", progress=seen.append)

    assert [0, 512, 2000] == [one.processed for one in seen]
    assert llama_cpp.posts[-1].json["return_progress"] is True


@pytest.mark.parametrize("generation", ["v0.4.2", "newest"])
@pytest.mark.parametrize("wanted", [True, False])
def test_servers_that_report_none_are_not_asked(
    client: Any, server: FakeServer, generation: Generation, wanted: bool
) -> None:
    seen: list[PromptProgress] = []

    client.chat_stream("hi", progress=seen.append, return_progress=wanted)
    client.generate("hi", return_progress=wanted)
    client.count_message_tokens("hi", return_progress=wanted)

    assert [] == seen
    assert [] == [post for post in server.posts if "return_progress" in post.json]


async def awaited(progress: PromptProgress) -> None:
    """Would have to be awaited."""


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        ("x", "^progress='x' must be a function that takes a PromptProgress, not str.$"),
        (True, "^progress=True must be a function that takes a PromptProgress, not bool.$"),
        (awaited, "^progress=.* must be a plain function: its result is not awaited.$"),
    ],
)
def test_what_is_no_plain_function_is_refused_before_anything_is_sent(
    client: Any, llama_cpp: FakeServer, callback: Any, message: str
) -> None:
    with pytest.raises(MlxcelError, match=message):
        client.chat_stream("hi", progress=callback)

    assert [] == llama_cpp.requests


def test_nothing_is_asked_without_a_callback(client: Any, llama_cpp: FakeServer) -> None:
    client.chat_stream("hi")

    assert ["/v1/models", "/v1/chat/completions"] == [seen.path for seen in llama_cpp.requests]
    assert "return_progress" not in llama_cpp.posts[-1].json


def test_progress_is_no_part_of_a_whole_answer(client: Any, llama_cpp: FakeServer) -> None:
    llama_cpp.script(Reply.events([*FRAMES, TOKEN, END]))

    reply = client.complete_chat("hi", return_progress=True)

    assert ("Hi", "stop") == (reply.text, reply.finish_reason)


def test_a_server_that_reads_is_alive(connect: Any, llama_cpp: FakeServer) -> None:
    frames = [progress(100 * n) for n in range(10)]
    llama_cpp.script(Reply.events([*frames, TOKEN, END], delay=0.04))

    client = connect(timeout=0.25, max_retries=0)

    assert ["Hi"] == client.chat_stream("hi", return_progress=True)


@pytest.mark.parametrize("later", [512, 400], ids=["stands still", "goes backwards"])
def test_progress_that_does_not_move_is_no_sign_of_life(
    connect: Any, llama_cpp: FakeServer, later: int
) -> None:
    frames = [progress(512), *[progress(later)] * 40]
    llama_cpp.script(Reply.events([*frames, TOKEN, END], delay=0.05))
    client = connect(timeout=0.3, max_retries=0)

    begin = time.monotonic()
    with pytest.raises((MlxcelStreamError, openai.APITimeoutError), match=r"0.3 s \(timeout=\)"):
        client.chat_stream("hi", return_progress=True)
    assert time.monotonic() - begin < 1.5


def test_the_first_token_is_limited_by_the_silence_of_the_server_not_by_that_of_tokens(
    connect: Any, llama_cpp: FakeServer
) -> None:
    llama_cpp.script(Reply.events([progress(0), progress(512), TOKEN, END], delay=0.15))

    client = connect(timeout=30, token_timeout=0.1, max_retries=0)

    with pytest.raises(MlxcelStreamError, match="token_timeout") as caught:
        client.chat_stream("hi", return_progress=True)
    assert "Hi" == caught.value.partial


def test_a_server_that_gives_up_while_it_reads_is_not_asked_again(
    client: Any, llama_cpp: FakeServer
) -> None:
    """As after the first token: the reader has seen the beginning."""
    failed = event(dumps({"error": {"message": "out of memory", "code": 500}}))
    llama_cpp.script(Reply.events([progress(512), failed], done=False))

    with pytest.raises(MlxcelStreamError, match="out of memory"):
        client.chat_stream("hi", return_progress=True)
    assert 1 == len(llama_cpp.posts)
