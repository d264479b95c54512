"""What all that can be started and closed does in a ``with`` statement."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

__all__ = ["ContextManager"]


class ContextManager:
    """Is started when a ``with`` statement is entered, and closed when it is left."""

    if TYPE_CHECKING:

        def start(self) -> Self:
            """Start it now."""
            ...

        def close(self) -> None:
            """Stop it."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
