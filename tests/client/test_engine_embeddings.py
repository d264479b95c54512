"""Texts that are too long for the embedded engine to embed, as it counts and limits them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from tests.client.conftest import AsyncDriver, SyncDriver

pytestmark = pytest.mark.engine

LIMIT = 512
TEXT = "Leuchttürme am Meer, 등대, 🎉 lighthouse. " * 60


@pytest.fixture
def engine(kind: str) -> Iterator[Any]:
    """An engine whose slot holds few tokens, and a client of each kind."""
    options: dict[str, Any] = {"model": "embedded", "ctx_size": LIMIT, "parallel": 1}
    driver = SyncDriver(**options) if kind == "sync" else AsyncDriver(**options)
    yield driver
    driver.shut_down()


def test_a_long_text_is_told_with_its_index_its_tokens_and_the_limit(engine: Any) -> None:
    tokens = len(engine.tokenize(TEXT, add_special=True))

    told = rf"^texts\[1\], 'Leuchttürme .* has {tokens} tokens, .* embeds at most {LIMIT}: split it"
    with pytest.raises(MlxcelError, match=told):
        engine.embed(["short", TEXT])


@pytest.mark.parametrize("kind", ["sync"])
def test_a_long_text_is_cut_at_the_limit(engine: Any) -> None:
    """The engine would refuse a text with one token more."""
    (cut,) = engine.embed([TEXT], truncate=True)

    tokens = engine.tokenize(TEXT)[: LIMIT - 1]
    assert pytest.approx(cut, abs=1e-3) == engine.embed([engine.detokenize(tokens)])[0]
