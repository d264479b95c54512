"""Address of a server, over TCP or a Unix socket, and the httpx transport that reaches it."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import ssl
import urllib.request
from pathlib import Path
from typing import NamedTuple

import httpx

from ..errors import MlxcelError
from ..protocol.arguments import as_path
from ..protocol.vectors.vector_models import BUILT_IN_EMBEDDER
from ..secret import without_password
from ..unix_sockets import check_socket_length
from .tls import TLS, USUAL_TLS

__all__ = ["MAX_CONNECTIONS", "Endpoint", "absolute_model", "absolute_path"]

MAX_CONNECTIONS = 200
"""Most connections of a pool."""

# httpcore looks at all pairs of idle connections with each request: with 200 of them that takes ten
# times as long as everything else, so the surplus is closed.
_LIMITS = httpx.Limits(
    max_connections=MAX_CONNECTIONS, max_keepalive_connections=32, keepalive_expiry=30.0
)


_ROUTES = (
    *("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/rerank", "/v1/models"),
    *("/v1/messages", "/v1/responses", "/v1", "/chat/completions", "/health"),
)
"""Routes that an address may end with, each before shorter routes with the same end."""

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "::")


class Endpoint(NamedTuple):
    """The address of a server.

    Attributes:
        url: Root of its routes, without a slash at the end and without ``/v1``.
        socket: Path of its Unix socket, None for TCP.
        tls: How secure connections to it are made.
        here: Whether the server is on this machine, whatever its address.
    """

    url: str
    socket: str | None = None
    tls: TLS = USUAL_TLS
    here: bool = False

    @classmethod
    def parse(cls, base_url: str | None, socket: str | os.PathLike[str] | None) -> Endpoint:
        """Read an address as users write it.

        Args:
            base_url: ``http://host:port``, with or without ``/v1`` or a route of the server, or
                ``unix:///path``.
            socket: Path of a Unix socket.

        Raises:
            MlxcelError: It is not an address.
        """
        if socket is not None:
            path = absolute_path(socket, "socket")
            check_socket_length(path, "socket=")
            return cls("http://localhost", path)
        text = without_password(str(base_url))
        if text.startswith("unix:"):
            return cls.parse(None, "/" + text.removeprefix("unix:").lstrip("/"))
        try:
            url = httpx.URL(text)
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme not in ("http", "https") or not url.host:
            raise MlxcelError(
                f"base_url={_shown_address(text)!r} is not an address: use http://host:port, "
                "https://host, or unix:///path/to.sock."
            )
        if url.userinfo:
            raise MlxcelError(
                f"base_url= for {url.host} holds a user name or a password: pass the key as "
                "api_key= instead, so that it stays out of messages and logs."
            )
        root = str(url.copy_with(query=None, fragment=None)).rstrip("/")
        route = next(filter(root.endswith, _ROUTES), "")
        return cls(root.removesuffix(route).rstrip("/"))

    def __str__(self) -> str:
        return f"unix://{self.socket}" if self.socket else self.url

    @property
    def canonical(self) -> str:
        """A text that is the same for all usual ways to write the address of a server."""
        if self.socket is not None:
            return f"unix://{os.path.realpath(self.socket)}"
        url = httpx.URL(self.url)
        return str(url.copy_with(host="localhost")) if url.host in _THIS_MACHINE else self.url

    @property
    def is_local(self) -> bool:
        """Whether requests stay on this machine."""
        return self.here or self.socket is not None or _is_loopback(httpx.URL(self.url).host)

    def transport(self) -> httpx.HTTPTransport:
        """Return a new transport that reaches the server."""
        return httpx.HTTPTransport(
            verify=self.verify, uds=self.socket, proxy=self._proxy(), limits=_LIMITS
        )

    def async_transport(self) -> httpx.AsyncHTTPTransport:
        """Return a new transport that reaches the server, for one event loop."""
        return httpx.AsyncHTTPTransport(
            verify=self.verify, uds=self.socket, proxy=self._proxy(), limits=_LIMITS
        )

    @property
    def is_secure(self) -> bool:
        """Whether connections to it are encrypted."""
        return self.url.startswith("https:")

    @property
    def verify(self) -> bool | ssl.SSLContext:
        """Trust settings for transports to it."""
        # True would read all certificates at once: 20 ms that plain HTTP can save.
        return self.tls.context() if self.is_secure else False

    def _proxy(self) -> str | None:
        """Return the proxy of the environment; local servers are never reached through one."""
        if self.is_local:
            return None
        url = httpx.URL(self.url)
        if urllib.request.proxy_bypass(url.host):
            return None
        proxies = urllib.request.getproxies()
        proxy = proxies.get(url.scheme) or proxies.get("all")
        return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _shown_address(text: str) -> str:
    """Return a mistyped address without what may be a password or a key."""
    text = without_password(text)
    query = re.search("[?#]", text)
    return f"{text[: query.end()]}***" if query else text


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
        # 0.0.0.0 and :: are this machine too.
        return address.is_loopback or address.is_unspecified
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def absolute_model(model: str | os.PathLike[str]) -> str:
    """Return a model's name, as an absolute path if it is local: the same in any process.

    Raises:
        MlxcelError: The name is empty, an address, or of another type.
    """
    name = as_path("model", model) or ""
    if "://" in name:
        raise MlxcelError(
            f"model={without_password(name)!r} is an address: pass base_url= for a running server, "
            "or the repository id of a model, such as 'mlx-community/Qwen3-4B-4bit'."
        )
    if not name.strip():
        raise MlxcelError(
            "model= is empty: pass a repository id, a directory, a .gguf file, or "
            '"embedded" for a small built-in model.'
        )
    if name in ("embedded", BUILT_IN_EMBEDDER):
        return name
    # Where the working directory was deleted, or a user has no home, there is no file either.
    with contextlib.suppress(MlxcelError):
        path = absolute_path(name, "model")
        # Not Path.exists(), which raises an error where a directory may not be read.
        return path if os.path.exists(path) else name  # noqa: PTH110
    return name


def absolute_path(path: str | os.PathLike[str], option: str) -> str:
    """Return a path that is the same in any process and working directory.

    Args:
        path: The path as the user writes it.
        option: The argument that holds it, for errors.

    Raises:
        MlxcelError: It cannot be made absolute.
    """
    given = f"{option}={as_path(option, path)!r}"
    try:
        return str(Path(path).expanduser().absolute())
    except FileNotFoundError:
        raise MlxcelError(
            f"{given} is relative, and the working directory was deleted: use an absolute path."
        ) from None
    except RuntimeError:
        raise MlxcelError(
            f"{given} begins with a home directory that is unknown: use an absolute path."
        ) from None
