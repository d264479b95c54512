"""Slots of a llama.cpp server: saved and restored over HTTP, with the standard library alone."""

from __future__ import annotations

import json
import socket
import time
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

__all__ = ["SlotError", "SlotRefused", "Slots"]


class SlotError(Exception):
    """A server has not done what was asked of its slots."""


class SlotRefused(SlotError):
    """A server has refused a request."""


class Slots:
    """The slots of a server.

    Args:
        url: Its address.
        path: Its socket, None for TCP.
        key: Its key, empty for none.
        seconds: Longest time for all requests together.
    """

    def __init__(self, url: str, path: str | None, key: str, seconds: float) -> None:
        self._url = urlsplit(url)
        self._path = path
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._deadline = time.monotonic() + seconds

    def states(self) -> list[dict[str, Any]]:
        """Return what the server reports about each slot.

        Raises:
            SlotError: It reports nothing.
        """
        states = self._request("GET", "/slots")
        if not (isinstance(states, list) and all(isinstance(state, dict) for state in states)):
            raise SlotError("/slots answers in an unknown form")
        return states

    def save(self, slot: int, name: str) -> int:
        """Save a slot in a file; return the bytes of the file, 0 for an empty slot.

        Raises:
            SlotRefused: The server cannot write it, as to a full disk.
            SlotError: It was not saved.
        """
        answer = self._change_slot(slot, "save", name)
        tokens, written = _number(answer, "n_saved"), _number(answer, "n_written")
        if tokens and not written:
            # As when the disk is full: some versions answer with 200 all the same.
            raise SlotRefused("nothing was written")
        return written if tokens else 0

    def restore(self, slot: int, name: str) -> int:
        """Restore a slot from a file; return the number of its tokens.

        Raises:
            SlotRefused: The server cannot use the file.
            SlotError: It was not restored.
        """
        return _number(self._change_slot(slot, "restore", name), "n_restored")

    def _change_slot(self, slot: int, action: str, name: str) -> Any:
        return self._request("POST", f"/slots/{slot}?action={action}", {"filename": name})

    def _request(self, method: str, target: str, body: object = None) -> Any:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise SlotError("out of time")
        connection = _Connection(self._url.hostname or "", self._url.port, self._path, left)
        sent = None if body is None else json.dumps(body)
        headers = {**self._headers, "content-type": "application/json"}
        try:
            connection.request(method, target, sent, headers)
            response = connection.getresponse()
            content = response.read()
            if response.status != 200:
                raise SlotRefused(f"status {response.status}: {content[:200]!r}")
            return json.loads(content)
        except (OSError, HTTPException, ValueError) as error:
            raise SlotError(str(error) or type(error).__name__) from None
        finally:
            connection.close()


def _number(answer: Any, name: str) -> int:
    number = answer.get(name) if isinstance(answer, dict) else None
    if type(number) is not int:
        raise SlotError(f"the answer has no number {name}")
    return number


class _Connection(HTTPConnection):
    """A connection over TCP or a Unix socket."""

    def __init__(self, host: str, port: int | None, path: str | None, seconds: float) -> None:
        super().__init__(host, port, timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """Connect to the server."""
        if self._path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
