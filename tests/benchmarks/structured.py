"""What structured output adds to a request of the same tokens, against a scripted server."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from llama_index.core import PromptTemplate
from pydantic import BaseModel

from mlxcel_integrations.langchain import ChatMlxcel
from mlxcel_integrations.llama_index import Mlxcel
from mlxcel_integrations.structured.type_schema import to_schema
from tests.benchmarks.part import Part
from tests.benchmarks.rounds import Work, medians
from tests.benchmarks.serving import served
from tests.fakes.server import FakeServer, Reply

__all__ = ["PARTS"]

REPEAT = 20


class Person(BaseModel):
    """Somebody who came."""

    name: str
    age: int


class Report(BaseModel):
    """Who came to a meeting."""

    title: str
    people: list[Person]


PEOPLE = [{"name": f"Person {number}", "age": number} for number in range(20, 50)]
ANSWER = json.dumps({"title": "The meeting of the year", "people": PEOPLE})
"""Some 130 tokens of the scripted server."""

BY_HAND = "`ChatMlxcel` with `response_format`, parsed by hand"
OURS = "`ChatMlxcel.with_structured_output`"
STREAMED_BY_HAND = "`ChatMlxcel` streamed with `response_format`"
STREAMED = "`ChatMlxcel.with_structured_output`, streamed as objects"


class ReportServer(FakeServer):
    """Answers every chat with the same report."""

    def __init__(self) -> None:
        super().__init__()
        self.think = lambda body: Reply.text(ANSWER)


def structured(rounds: int, peers: bool) -> dict[str, float]:
    """Return the seconds that a request takes each client."""
    with served(ReportServer) as url, ChatMlxcel(base_url=url) as llm:
        fields = {"chat_template_kwargs": {"enable_thinking": False}}
        by_hand = llm.bind(response_format=to_schema(Report).response_format, **fields)
        asked = llm.with_structured_output(Report, show_schema=False)
        ways: dict[str, Work] = {
            BY_HAND: lambda: Report.model_validate_json(by_hand.invoke("x").text),
            OURS: lambda: asked.invoke("x"),
            STREAMED_BY_HAND: lambda: list(by_hand.stream("x")),
            STREAMED: lambda: list(asked.stream("x")),
        }
        if peers:
            with suppress(ImportError):
                ways["`ChatOpenAI.with_structured_output`"] = chat_openai(url)
            ways["`Mlxcel.structured_predict`"] = predict(Mlxcel(base_url=url))
            with suppress(ImportError):
                ways["`OpenAILike.structured_predict`"] = openai_like(url)
        return medians(ways, rounds, repeat=REPEAT)


def chat_openai(url: str) -> Work:
    from langchain_openai import ChatOpenAI

    options: Any = {"base_url": f"{url}/v1", "api_key": "none"}
    asked = ChatOpenAI(model="fake-model", **options).with_structured_output(Report)
    return lambda: asked.invoke("x")


def openai_like(url: str) -> Work:
    from llama_index.llms.openai_like import OpenAILike

    return predict(
        OpenAILike(
            model="fake-model",
            api_base=f"{url}/v1",
            api_key="none",
            is_chat_model=True,
            should_use_structured_outputs=True,
        )
    )


def predict(llm: Any) -> Work:
    return lambda: llm.structured_predict(Report, PromptTemplate("x"))


FLOORS = {
    OURS: (BY_HAND,),
    STREAMED: (STREAMED_BY_HAND,),
    "`ChatOpenAI.with_structured_output`": (BY_HAND,),
    "`Mlxcel.structured_predict`": (BY_HAND,),
    "`OpenAILike.structured_predict`": (BY_HAND,),
}
PARTS = (
    Part("structured output", "ms a request", 1e3, structured, FLOORS, {OURS: 1.3, STREAMED: 3.0}),
)
