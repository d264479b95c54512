"""Options of secure connections: the files are checked before anything is sent."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from mlxcel_integrations import LLM
from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.langchain import ChatMlxcel
from mlxcel_integrations.transport.endpoint import Endpoint
from mlxcel_integrations.transport.tls import TLS
from tests.faults.raw_socket_server import HEAD, RawServer
from tests.faults.ways_to_call import WAYS, Way, each_way

URL = "https://models.example.org"


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """A file with a certificate and its key."""
    path = tmp_path / "me.pem"
    trustme.CA().issue_cert("me").private_key_and_cert_chain_pem.write_to_path(path)
    return path


@pytest.mark.parametrize("make", [LLM, ChatMlxcel])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"verify": "/nowhere/ca.pem"}, r"verify='/nowhere/ca.pem' does not exist"),
        ({"verify": "~nobody/ca.pem"}, r"verify='~nobody/ca.pem' does not exist"),
        ({"client_cert": "/nowhere/me.pem"}, r"client_cert='/nowhere/me.pem' does not exist"),
        ({"client_key": "/nowhere/me.key"}, r"client_key= is given without client_cert="),
    ],
)
def test_files_that_are_not_there_are_named(
    make: Any, options: dict[str, str], message: str
) -> None:
    with pytest.raises(MlxcelError, match=message):
        make(base_url=URL, **options)


@pytest.mark.parametrize("name", ["verify", "client_cert"])
def test_files_of_another_kind_are_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pem"
    path.write_text("no certificate")
    with (
        LLM(base_url=URL, **{name: str(path)}) as llm,  # type: ignore[arg-type]  # either option
        pytest.raises(MlxcelError, match=rf"{name}='{path}'.* cannot be used: .*PEM"),
    ):
        llm.models()
    with (
        LLM(base_url=URL, **{name: str(path)}) as llm,  # type: ignore[arg-type]  # either option
        pytest.raises(MlxcelError, match=rf"{name}='{path}'.* cannot be used: .*PEM"),
    ):
        _ = llm.openai_client


def test_a_key_that_does_not_belong_to_the_certificate_is_refused(
    pem: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.key"
    trustme.CA().issue_cert("other").private_key_pem.write_to_path(other)
    tls = TLS(client_cert=str(pem), client_key=str(other))

    with pytest.raises(MlxcelError, match="must be PEM files that belong together"):
        tls.context()


def test_a_key_with_a_password_is_told_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    path = tmp_path / "locked.pem"
    made = trustme.CA().issue_cert("me")
    key = serialization.load_pem_private_key(made.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    path.write_bytes(locked + made.cert_chain_pems[0].bytes())

    with pytest.raises(MlxcelError, match="belong together, the key without a password"):
        TLS(client_cert=str(path)).context()


def strange(connection: socket.socket) -> None:
    """Show a certificate that this machine does not trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with contextlib.suppress(OSError):
        context.wrap_socket(connection, server_side=True)


def plain(connection: socket.socket) -> None:
    """Answer without TLS."""
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "message"),
    [(strange, "certificate"), (plain, "Use http:// if the server does not speak TLS there")],
)
def test_why_there_is_no_secure_connection_is_told(
    answer: Callable[[socket.socket], None], message: str
) -> None:
    def answered() -> None:
        connection, _ = listener.accept()
        with connection:
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answered)
        thread.start()
        with (
            LLM(base_url=f"https://localhost:{listener.getsockname()[1]}", max_retries=0) as llm,
            pytest.raises(openai.APIConnectionError, match=message),
        ):
            llm.models()
        thread.join()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@each_way(WAYS[:4])
def test_a_long_question_and_its_answer_are_encrypted(way: Way, loop: str, tmp_path: Path) -> None:
    """The answer is larger than what is read at once, in both directions."""
    authority, served = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    text = "x" * 1_000_000
    delta = f'data: {{"choices": [{{"delta": {{"content": "{text}"}}}}]}}\n\ndata: [DONE]\n\n'

    def serve(_: RawServer, connection: socket.socket) -> None:
        with served.wrap_socket(connection, server_side=True) as secure:
            received = secure.recv(65536)
            if received.startswith(b"GET"):
                secure.sendall(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                return
            left = len(text) - len(received)
            while left > 0:
                left -= len(secure.recv(65536))
            secure.sendall(HEAD + delta.encode())
            # uvloop loses what it has not passed on yet when the server closes the connection.
            secure.recv(1)

    factory = None if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    with RawServer(serve, reads=False) as server:
        url = server.url.replace("http", "https")
        llm = {"base_url": url, "served_model": "m", "check_context": None}
        with way.opened(factory, verify=str(tmp_path / "ca.pem"), **llm) as ask:
            assert (text, None) == ask(text)


@pytest.mark.parametrize("place", ["unix:///run/x.sock", "http://localhost:1"])
def test_places_without_tls_need_none_of_it(place: str) -> None:
    with LLM(base_url=place, verify="/nowhere/ca.pem") as llm:
        assert Endpoint.parse(place, None) == llm._connection.endpoint


def test_what_is_trusted(pem: Path) -> None:
    authority = TLS(verify=str(pem)).context()
    nobody = TLS(verify=False).context()
    both = TLS(client_cert=str(pem)).context()

    assert TLS().context() is True
    assert isinstance(authority, ssl.SSLContext)
    assert isinstance(nobody, ssl.SSLContext)
    assert isinstance(both, ssl.SSLContext)
    assert isinstance(TLS(verify=str(pem.parent)).context(), ssl.SSLContext)
    assert (1, ssl.CERT_REQUIRED) == (authority.cert_store_stats()["x509"], authority.verify_mode)
    assert (False, ssl.CERT_NONE) == (nobody.check_hostname, nobody.verify_mode)
    assert both.cert_store_stats()["x509"] > 1
