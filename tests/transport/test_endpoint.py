"""Addresses of servers, and the transports that reach them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.transport.endpoint import Endpoint, absolute_model

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_a_path_that_cannot_become_absolute_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    with pytest.raises(MlxcelError, match=r"socket='x\.sock' is relative.* directory was deleted"):
        Endpoint.parse(None, "x.sock")
    with pytest.raises(MlxcelError, match="socket='~no such user/x' begins with a home directory"):
        Endpoint.parse(None, "~no such user/x")
    assert ["org/m", "./m.gguf", "~no such user/m"] == [
        absolute_model(name) for name in ("org/m", "./m.gguf", "~no such user/m")
    ]


def test_an_address_is_no_model_and_its_password_is_not_shown() -> None:
    with pytest.raises(MlxcelError, match=r"is an address: pass base_url=") as caught:
        absolute_model("http://me:secret@host:1")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("model", ["", " "])
def test_an_empty_model_is_told_with_examples(model: str) -> None:
    with pytest.raises(MlxcelError, match=r"^model= is empty: pass a repository id, a directory"):
        absolute_model(model)


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080"),
        ("http://[::1]:8080/v1", "http://[::1]:8080"),
        ("https://models.example.org/api/v1?x=1#y", "https://models.example.org/api"),
        ("HTTP://Models.Example.org", "http://models.example.org"),
        ("http://example.org/v1x", "http://example.org/v1x"),
        ("http://h:1/v1/chat/completions", "http://h:1"),
        ("http://h:1/api/v1/embeddings/", "http://h:1/api"),
        ("http://h:1/chat/completions", "http://h:1"),
        ("http://h:1/health", "http://h:1"),
        ("http://h:1/models", "http://h:1/models"),
    ],
)
def test_addresses_are_taken_as_users_write_them(base_url: str, url: str) -> None:
    assert Endpoint(url) == Endpoint.parse(base_url, None)


@pytest.mark.parametrize(
    "base_url", ["unix:///run/x.sock", "unix://run/x.sock", "unix:/run/x.sock"]
)
def test_sockets_are_taken_as_users_write_them(base_url: str) -> None:
    endpoint = Endpoint.parse(base_url, None)

    assert Endpoint("http://localhost", "/run/x.sock") == endpoint
    assert "unix:///run/x.sock" == str(endpoint)
    assert endpoint == Endpoint.parse(str(endpoint), None)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("http://localhost:1", "http://127.0.0.1:1/v1", True),
        ("http://[::1]:1", "http://0.0.0.0:1", True),
        ("https://h:443", "https://h", True),
        ("http://localhost:1", "http://localhost:2", False),
        ("http://localhost:1/a", "http://localhost:1/b", False),
        ("http://127.0.0.1:1", "http://127.0.0.2:1", False),
        ("http://localhost:1", "https://localhost:1", False),
        ("unix:///run/x.sock", "unix:///run/./y/../x.sock", True),
        ("unix:///run/x.sock", "unix:///run/y.sock", False),
    ],
)
def test_an_address_has_one_canonical_form(first: str, second: str, same: bool) -> None:
    assert same == (Endpoint.parse(first, None).canonical == Endpoint.parse(second, None).canonical)


@pytest.mark.parametrize(
    ("socket", "expected"),
    [
        ("/run/x.sock", Path("/run/x.sock")),
        (Path("/run/x.sock"), Path("/run/x.sock")),
        ("x.sock", Path.cwd() / "x.sock"),
        ("~/x.sock", Path.home() / "x.sock"),
    ],
)
def test_paths_of_sockets_become_absolute(socket: Any, expected: Path) -> None:
    assert str(expected) == Endpoint.parse(None, socket).socket


@pytest.mark.parametrize(
    "base_url",
    ["", "localhost:8080", "127.0.0.1:8080", "//host", "ftp://host", "http://", "http://a:b", "/x"],
)
def test_what_is_no_address_is_told_with_examples(base_url: str) -> None:
    with pytest.raises(MlxcelError, match=r"not an address: use http://host:port") as caught:
        Endpoint.parse(base_url, None)

    assert repr(base_url) in str(caught.value)


@pytest.mark.parametrize("user", ["me:secret", ":secret", "secret"])
def test_a_password_in_an_address_is_refused_without_being_shown(user: str) -> None:
    with pytest.raises(MlxcelError, match="api_key=") as caught:
        Endpoint.parse(f"http://{user}@host:1/v1", None)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "local"),
    [
        ("unix:///run/x.sock", True),
        ("http://localhost:1", True),
        ("http://LOCALHOST:1", True),
        ("http://api.localhost:1", True),
        ("http://127.0.0.1:1", True),
        ("http://127.9.9.9:1", True),
        ("http://[::1]:1", True),
        ("http://0.0.0.0:1", True),
        ("http://10.0.0.1:1", False),
        ("http://example.org", False),
        ("http://localhost.example.org", False),
    ],
)
def test_local_servers_are_never_reached_by_a_proxy(
    base_url: str, local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    endpoint = Endpoint.parse(base_url, None)

    assert local == endpoint.is_local
    assert (None if local else "http://proxy.example:3128") == endpoint._proxy()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"http_proxy": "http://p:1"}, None),
        ({"https_proxy": "http://p:1"}, "http://p:1"),
        ({"all_proxy": "http://p:1"}, "http://p:1"),
        ({"https_proxy": "http://p:1", "no_proxy": "example.org"}, None),
        ({"https_proxy": "http://p:1", "no_proxy": "*"}, None),
        ({"https_proxy": "proxy:3128"}, "http://proxy:3128"),
    ],
    ids=str,
)
def test_proxies_of_the_environment_are_used_where_they_apply(
    environment: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    endpoint = Endpoint("https://models.example.org")

    assert expected == endpoint._proxy()
    endpoint.transport().close()


def test_plain_http_reads_no_certificates() -> None:
    with (
        Endpoint("http://localhost").transport() as transport,
        Endpoint("https://localhost").transport() as secure,
    ):
        assert isinstance(transport, httpx.HTTPTransport)
        assert 0 == len(transport._pool._ssl_context.get_ca_certs())
        assert 0 < secure._pool._ssl_context.cert_store_stats()["x509"]
