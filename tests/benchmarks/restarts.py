"""How long a long prompt takes on an embedded engine that was restarted."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from mlxcel_integrations import ManagedServer
from tests.benchmarks.one_token import FLOORS, LONG, OURS, Message, ask, askers, user
from tests.benchmarks.part import Part
from tests.embedded.engine import cache_with_models
from tests.embedded.texts import log_book

__all__ = ["PARTS"]


def restarts(rounds: int, peers: bool) -> dict[str, float]:
    """Return the seconds from when an engine is ready until its first token.

    Only our classes start servers, and can tell them to keep prompts.

    Args:
        rounds: Nothing here: those who keep none wait for long enough.
        peers: Whether packages of others take part.
    """
    messages = [user(f"{log_book(LONG)} Which port on day 3?")]
    names = askers("http://127.0.0.1:1", peers)
    # Nobody's own prompts are restored, nor removed.
    with tempfile.TemporaryDirectory() as home, patch.dict(os.environ, XDG_CACHE_HOME=home):
        cache_with_models(Path(home))
        first_token(OURS[0], messages, peers)
        return {name: first_token(name, messages, peers) for name in names}


def first_token(name: str, messages: list[Message], peers: bool) -> float:
    """Start an engine, and return the seconds until the first token of an answer."""
    with ManagedServer("embedded", host="127.0.0.1", keep_prompts=name in OURS) as server:
        client = askers(server.base_url.removesuffix("/v1"), peers)[name]
        # What a client loads on first use does not count.
        ask(client, [user("hi")])
        begin = time.perf_counter()
        ask(client, messages)
        return time.perf_counter() - begin


PARTS = (Part("restarts", "s", 1, restarts, FLOORS),)
