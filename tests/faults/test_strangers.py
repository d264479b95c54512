"""Somebody else answers in place of a server of ours, and gets neither the key nor a prompt."""

from __future__ import annotations

import asyncio
import inspect
import shlex
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from mlxcel_integrations import LLM, AsyncLLM, ManagedServer, MlxcelServerError
from tests.fakes.ports import free_port
from tests.fakes.server import FakeServer
from tests.supervisor.conftest import Fake, wait_until

KEY = "sk-for-our-own-server"


def option(fake: Fake, name: str) -> str:
    """Return what the last server was told on its command line."""
    words: list[str] = fake.starts[-1]["argv"]
    return words[words.index(name) + 1]


@contextmanager
def stranger(fake: Fake, *, at_socket: bool = False) -> Iterator[list[FakeServer]]:
    """Serve at the address of the next server while that still loads."""
    strangers: list[FakeServer] = []

    def serve() -> None:
        fake.wait_for_start()
        if at_socket:
            strangers.append(FakeServer(socket=option(fake, "--host")))
        else:
            strangers.append(FakeServer(port=int(option(fake, "--port"))))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield strangers
    finally:
        thread.join()
        for one in strangers:
            one.stop()


def assert_told_nothing(one: FakeServer) -> None:
    assert {"/health"} == {seen.path for seen in one.requests}
    assert not any("authorization" in seen.headers for seen in one.requests)


def test_a_stranger_on_the_users_port_is_refused(fake: Fake) -> None:
    llm = LLM("m", binary=fake.binary(LOAD_SECONDS="30"), port=free_port(), api_key=KEY)
    with stranger(fake) as strangers:
        with pytest.raises(MlxcelServerError, match=r"Another program answers .* neither the key"):
            llm.chat("a secret prompt")

        assert_told_nothing(strangers[0])
        fake.wait_for_nothing()
    llm.close()


def test_a_stranger_on_a_port_of_our_choice_is_left_alone_and_another_port_is_taken(
    fake: Fake,
) -> None:
    binary = fake.binary(LOAD_SECONDS="1")
    with stranger(fake) as strangers, LLM("m", binary=binary, host="127.0.0.1", api_key=KEY) as llm:
        assert "echo: hi" == llm.chat("hi")

        assert_told_nothing(strangers[0])
        assert 2 == len({start["argv"][start["argv"].index("--port") + 1] for start in fake.starts})


def test_a_stranger_on_the_users_socket_is_refused_and_keeps_it(fake: Fake) -> None:
    path = fake.runtime / "mine.sock"
    llm = LLM("m", binary=fake.binary(LOAD_SECONDS="30"), socket=path, api_key=KEY)
    with stranger(fake, at_socket=True) as strangers:
        with pytest.raises(MlxcelServerError, match=r"Another program answers .* neither the key"):
            llm.chat("a secret prompt")

        assert_told_nothing(strangers[0])
        assert [] == fake.running
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    llm.close()
    Path(path).unlink(missing_ok=True)


# --------------------------------------------------------------------------- after the start


def ask(llm: LLM) -> object:
    return llm.chat("a secret prompt")


def ask_openai(llm: LLM) -> object:
    return llm.openai_client.models.list()


async def ask_async(llm: AsyncLLM) -> object:
    return await llm.chat("a secret prompt")


async def ask_openai_async(llm: AsyncLLM) -> object:
    return await llm.openai_client.models.list()


@contextmanager
def started(make: Callable[..., Any], **options: Any) -> Iterator[Callable[[Any], Any]]:
    """Start a server, and yield what asks it in one of the ways; it has no connection yet."""
    with asyncio.Runner() as runner:
        llm = make("m", api_key=KEY, max_retries=0, keep_alive=0, **options)

        def asked(way: Callable[[Any], Any]) -> Any:
            """Return what a way returns, or its error."""
            try:
                answer = way(llm)
                return runner.run(answer) if inspect.iscoroutine(answer) else answer
            except Exception as error:  # noqa: BLE001  for the test to look at
                return error

        asked.llm = llm  # type: ignore[attr-defined]  # for its server
        asked(lambda llm: llm.start())
        yield asked
        asked(lambda llm: llm.close())


WAYS = pytest.mark.parametrize(
    ("make", "way"),
    [(LLM, ask), (AsyncLLM, ask_async), (LLM, ask_openai), (AsyncLLM, ask_openai_async)],
    ids=["LLM", "AsyncLLM", "OpenAI", "AsyncOpenAI"],
)
BOTH_SHARES = pytest.mark.parametrize("share", ["process", "user"])


def server_of(asked: Any) -> ManagedServer:
    server: ManagedServer = asked.llm._connection.server
    return server


@WAYS
@BOTH_SHARES
@pytest.mark.parametrize("replaced", ["socket", "directory"])
def test_whoever_takes_the_place_of_the_socket_is_told_nothing(
    replaced: str, share: str, make: Callable[..., Any], way: Any, fake: Fake
) -> None:
    with started(make, binary=fake.binary(), share=share) as asked:
        path = Path(str(server_of(asked).socket))
        moved = path if replaced == "socket" else path.parent
        aside = moved.with_name("aside")
        moved.rename(aside)
        with FakeServer(socket=path) as one:
            error = asked(way)
            assert isinstance(error, openai.APIConnectionError)
            assert [] == one.requests
        path.unlink()
        if replaced == "directory":
            path.parent.rmdir()
        aside.rename(moved)

        assert not isinstance(asked(way), Exception)


def test_the_error_about_a_stranger_says_what_it_was_told(fake: Fake) -> None:
    with started(LLM, binary=fake.binary()) as asked:
        path = Path(str(server_of(asked).socket))
        with FakeServer(socket=path):
            told = str(asked(ask))

    assert "another program answers there, not the server that was started" in told
    assert "neither the key nor a prompt" in told


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@WAYS
@BOTH_SHARES
def test_whoever_takes_the_port_of_a_dead_server_is_told_nothing(
    share: str, make: Callable[..., Any], way: Any, fake: Fake
) -> None:
    """The guard is stopped, so that its report of the end does not come in time."""
    with started(make, binary=fake.binary(), share=share, host="127.0.0.1") as asked:
        server = server_of(asked)
        process = psutil.Process(server.pid)
        port = int(option(fake, "--port"))
        guard = process.parent()
        assert guard is not None
        guard.suspend()
        process.kill()
        assert wait_until(lambda: not is_open(port))
        try:
            with FakeServer(port=port) as one:
                # An error, or the answer of the server that was started instead.
                asked(way)
                assert [] == one.requests
        finally:
            if guard.is_running():
                guard.resume()


@pytest.mark.parametrize("make", [LLM, AsyncLLM])
def test_a_server_on_tcp_that_accepts_nobody_at_the_moment_is_no_stranger(
    make: Callable[..., Any], fake: Fake
) -> None:
    """The older server is deaf while it works; its listener proves that it will accept."""
    way = ask if make is LLM else ask_async
    with started(make, binary=fake.binary(), host="127.0.0.1") as asked:
        process = psutil.Process(server_of(asked).pid)
        process.suspend()
        threading.Timer(1.0, process.resume).start()

        assert "echo: a secret prompt" == asked(way)


def address_of_this_machine() -> str:
    """Return one that is not for this machine alone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        address: str = probe.getsockname()[0]
        return address


@WAYS
@BOTH_SHARES
def test_no_proxy_stands_before_a_server_that_others_can_reach(
    share: str, make: Callable[..., Any], way: Any, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeServer() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        host = address_of_this_machine()
        with started(make, binary=fake.binary(), share=share, host=host) as asked:
            assert host in server_of(asked).base_url
            assert not isinstance(asked(way), Exception)

        assert [] == proxy.requests


# --------------------------------------------------------------------------- no stranger at all

SHORT_LIVED = """
import os, socket, sys, time
host, port = [sys.argv[sys.argv.index(name) + 1] for name in ("--host", "--port")]
if host.endswith(".sock"):
    server = socket.socket(socket.AF_UNIX)
    server.bind(host)
else:
    server = socket.create_server((host, int(port)))
server.listen()
client, _ = server.accept()
client.recv(65536)
print("Error: the weights are cursed", file=sys.stderr, flush=True)
server.close()
client.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\nconnection: close\\r\\n\\r\\n{}")
time.sleep(SECONDS)
os._exit(3)
"""


def short_lived(fake: Fake, seconds: float) -> str:
    """Return a server that ends so long after its first answer, and listens no more meanwhile."""
    code = SHORT_LIVED.replace("SECONDS", str(seconds))
    return fake.script(f'exec {shlex.join([sys.executable, "-S", "-c", code])} "$@"')


@pytest.mark.parametrize("share", ["process", "user"])
@pytest.mark.parametrize("address", [{}, {"host": "127.0.0.1"}, {"port": 0}, {"socket": ""}])
@pytest.mark.parametrize("seconds", [0, 0.1])
def test_a_server_that_dies_after_its_first_answer_is_told_with_its_log(
    seconds: float, address: dict[str, Any], share: str, fake: Fake
) -> None:
    if "port" in address:
        address = {"port": free_port()}
    if "socket" in address:
        address = {"socket": fake.runtime / "mine.sock"}
    server = fake.server(short_lived(fake, seconds), share=share, **address)

    told = r"exit status 3 as soon as it was ready(?s:.*)weights are cursed"
    with pytest.raises(MlxcelServerError, match=told) as caught:
        server.start()

    assert 3 == caught.value.returncode


@pytest.mark.parametrize("address", [{}, {"host": "127.0.0.1"}])
def test_a_server_that_stops_listening_and_lives_on_is_told_and_ended(
    address: dict[str, Any], fake: Fake
) -> None:
    server = fake.server(short_lived(fake, 60), shutdown_grace=0.1, **address)

    told = r"stopped answering as soon as it was ready(?s:.*)cursed"
    with pytest.raises(MlxcelServerError, match=told):
        server.start()
