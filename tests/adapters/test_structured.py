"""Objects in both frameworks, in all four ways to ask."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from tests.adapters.frameworks import Framework
from tests.adapters.ways import chunks
from tests.fakes.server import FakeServer, Reply


class City(BaseModel):
    name: str
    people: int


@pytest.mark.parametrize("generation", ["newest", "v0.4.2"])
def test_an_answer_among_the_thoughts_is_found(framework: Framework, server: FakeServer) -> None:
    server.script(*[Reply.text("", reasoning='{"name": "Oslo", "people": 7}')] * 4)

    with framework.model(base_url=server.url) as llm:
        found = [
            chunks(method, framework.predict(llm, method, City))[-1]
            for method in framework.predictions
        ]

    assert [City(name="Oslo", people=7)] * 4 == found
