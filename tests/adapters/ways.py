"""The ways to ask a model of either framework, each with one whole answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from typing import Any

from tests.adapters.frameworks import FRAMEWORKS, Framework, Json
from tests.fakes.server import FakeServer

__all__ = ["CHATS", "WAYS", "Way", "awaited", "chunks"]


@dataclass(frozen=True)
class Way:
    """A method of a model.

    Attributes:
        framework: Makes the model.
        method: The name of the method.
        completes: Whether it has a text continued; the others answer messages.
        options: Options of the model.
    """

    framework: type[Framework]
    method: str
    completes: bool = False
    options: Json = field(default_factory=dict)

    def __str__(self) -> str:
        kind = "completion" if self.completes else "chat"
        return " ".join([self.framework.__name__, kind, self.method, *map(str, self.options)])

    @property
    def is_async(self) -> bool:
        return self.method.startswith("a")

    @property
    def streams(self) -> bool:
        return "stream" in self.method

    def model(self, server: FakeServer, **options: Any) -> Any:
        framework = self.framework()
        make = framework.completer if self.completes else framework.model
        return make(base_url=server.url, **self.options, **options)

    def begin(self, llm: Any, given: str | list[Any], **call: Any) -> Any:
        """Return what the method returns for a text or messages."""
        if isinstance(given, str) and not self.completes:
            given = [self.framework().user(given)]
        return getattr(llm, self.method)(given, **call)

    def ask(self, llm: Any, given: str | list[Any], **call: Any) -> Any:
        """Return the whole answer."""
        return self.framework().whole(chunks(self.method, self.begin(llm, given, **call)))


def chunks(method: str, answer: Any) -> list[Any]:
    """Return all that comes of what a method with this name has returned."""
    if method.startswith("a"):
        answer = asyncio.run(awaited(answer))
    return list(answer) if "stream" in method else [answer]


async def awaited(answer: Any) -> Any:
    """Return what comes asynchronously; of a stream, all chunks."""
    if isinstance(answer, Awaitable):
        answer = await answer
    return [chunk async for chunk in answer] if isinstance(answer, AsyncIterator) else answer


CHATS = [Way(framework, method) for framework in FRAMEWORKS for method in framework.chats]
WAYS = CHATS + [
    Way(framework, method, completes=True)
    for framework in FRAMEWORKS
    for method in framework.completions
]
