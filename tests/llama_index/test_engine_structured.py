"""Objects and calls from ``Mlxcel`` on the embedded engine: what only a real server can show."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Literal

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.program import FunctionCallingProgram
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field

from mlxcel_integrations import StructuredOutputTruncated
from mlxcel_integrations.llama_index import Mlxcel

pytestmark = pytest.mark.engine

PROMPT = PromptTemplate("{name} is a city. Describe it.")


class City(BaseModel):
    """A city."""

    country: Literal["France", "Norway"]
    code: str = Field(pattern=r"^[A-Z]{2}\d[\d-]$")
    sights: list[Annotated[str, Field(max_length=12)]] = Field(min_length=1, max_length=2)


@pytest.fixture(scope="module")
def llm() -> Iterator[Mlxcel]:
    with Mlxcel(model="embedded", temperature=0, max_tokens=100) as model:
        yield model


def test_an_object_grows_until_it_is_whole(llm: Mlxcel) -> None:
    parts = list(llm.stream_structured_predict(City, PROMPT, name="Oslo"))

    assert len(parts) > 2
    assert City.model_validate(parts[-1].model_dump()) == parts[-1]
    with pytest.raises(StructuredOutputTruncated, match="raise max_tokens"):
        llm.structured_predict(City, PROMPT, llm_kwargs={"max_tokens": 14}, name="Oslo")


def test_a_program_and_a_forced_call_come(llm: Mlxcel) -> None:
    def get_weather(city: str, days: int) -> str:
        return f"It will be sunny in {city} for {days} days."

    program = FunctionCallingProgram(City, llm, PROMPT)
    assert asyncio.run(program.acall(name="Oslo")).country in ("France", "Norway")

    tool = FunctionTool.from_defaults(get_weather)
    response = llm.chat_with_tools([tool], "What is the weather in Oslo?", tool_required=True)
    (call,) = llm.get_tool_calls_from_response(response)
    assert {"city": str, "days": int} == {name: type(v) for name, v in call.tool_kwargs.items()}
