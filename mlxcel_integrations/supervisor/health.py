"""What a server answers when it is asked whether it is ready."""

from __future__ import annotations

from pathlib import Path

# httpx imports it with its first request, for which a server that is ready would have to wait.
import httpcore  # noqa: F401
import httpx

from ..transport.endpoint import Endpoint
from ..transport.sockets import close_leaked_socket

__all__ = ["health_status"]

_SECONDS = 1.0


def health_status(endpoint: Endpoint) -> int | None:
    """Return the status of ``/health``, None if nobody answers within a second."""
    if endpoint.socket is not None and not Path(endpoint.socket).exists():
        return None
    limits = dict.fromkeys(("connect", "read", "write", "pool"), _SECONDS)
    request = httpx.Request("GET", endpoint.url + "/health", extensions={"timeout": limits})
    with endpoint.transport() as transport:
        try:
            response = transport.handle_request(request)
            response.close()
        except httpx.TransportError as error:
            close_leaked_socket(error)
            return None
        return response.status_code
