"""Transport of the user, lent to a client that may be built on a library other than ``httpx``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx

__all__ = ["lent_async_transport", "lent_transport"]


def lent_transport(transport: httpx.BaseTransport, library: Any) -> Any:
    """Return a transport of a library that sends requests through the user's, and never closes it.

    Args:
        transport: The transport of the user.
        library: ``httpx``, or ``httpx2``, which has the same classes.
    """

    class Body(library.SyncByteStream):  # type: ignore[misc]  # a class found at run time
        def __init__(self, response: httpx.Response) -> None:
            self._response = response

        def __iter__(self) -> Iterator[bytes]:
            yield from self._response.iter_raw()

        def close(self) -> None:
            self._response.close()

    class Lent(library.BaseTransport):  # type: ignore[misc]  # a class found at run time
        def handle_request(self, request: Any) -> Any:
            request.read()
            response = transport.handle_request(_translated(request))
            return _translated_answer(library, response, Body(response))

    return Lent()


def lent_async_transport(transport: httpx.AsyncBaseTransport, library: Any) -> Any:
    """Return an asynchronous transport; see ``lent_transport``."""

    class Body(library.AsyncByteStream):  # type: ignore[misc]  # a class found at run time
        def __init__(self, response: httpx.Response) -> None:
            self._response = response

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for piece in self._response.aiter_raw():
                yield piece

        async def aclose(self) -> None:
            await self._response.aclose()

    class Lent(library.AsyncBaseTransport):  # type: ignore[misc]  # a class found at run time
        async def handle_async_request(self, request: Any) -> Any:
            await request.aread()
            response = await transport.handle_async_request(_translated(request))
            return _translated_answer(library, response, Body(response))

    return Lent()


def _translated(request: Any) -> httpx.Request:
    return httpx.Request(
        request.method,
        str(request.url),
        headers=request.headers.raw,
        content=request.content,
        extensions=request.extensions,
    )


def _translated_answer(library: Any, response: httpx.Response, body: Any) -> Any:
    if response.is_closed:
        # A transport for tests has read it already.
        return library.Response(
            response.status_code, headers=response.headers.raw, content=response.content
        )
    return library.Response(response.status_code, headers=response.headers.raw, stream=body)
