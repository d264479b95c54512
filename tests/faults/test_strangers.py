"""Somebody else answers in place of a server of ours, and gets neither the key nor a prompt."""

from __future__ import annotations

import shlex
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations import LLM, MlxcelServerError
from tests.fakes.server import FakeServer
from tests.supervisor.conftest import Fake

KEY = "sk-for-our-own-server"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


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


def test_a_server_that_stops_listening_and_lives_on_is_told_and_ended(fake: Fake) -> None:
    server = fake.server(short_lived(fake, 60), shutdown_grace=0.1)

    told = r"stopped answering as soon as it was ready(?s:.*)cursed"
    with pytest.raises(MlxcelServerError, match=told):
        server.start()
