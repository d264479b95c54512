"""Tools on the embedded engine with a chat template that knows none: all calls are valid.

The model is too small to choose well, and was not trained for tools: what it calls does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from mlxcel_integrations import LLM, ManagedServer
from tests.adapters.test_prompted_tools import TASKS, add, multiply, question

pytestmark = [
    pytest.mark.engine,
    # Core's own: every workflow looks up in itself what Pydantic 1 had.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
]

TEMPLATE = (
    "{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
TOKENS = {"max_tokens": 160, "temperature": 0, "repetition_penalty": 1.1}
"""With room for whole calls; the penalty keeps the model from saying one thing for ever."""


class Tree(BaseModel):
    """A tree."""

    evergreen: bool
    height: int


@pytest.fixture(scope="module")
def server() -> Iterator[ManagedServer]:
    with ManagedServer("embedded", parallel=1, chat_template=TEMPLATE) as engine:
        yield engine


def agent_calls(server: ManagedServer, task: tuple[int, int, int]) -> None:
    """Let an agent call tools in up to three steps, and check each of them."""
    agents = pytest.importorskip("langchain.agents", reason="LangChain is not installed")
    from langchain.agents.middleware import ModelCallLimitMiddleware

    from mlxcel_integrations.langchain import ChatMlxcel

    with ChatMlxcel(socket=server.socket, **TOKENS) as llm:
        limit: Any = ModelCallLimitMiddleware(run_limit=3, exit_behavior="end")
        agent = agents.create_agent(llm, [add, multiply], middleware=[limit])
        messages = agent.invoke({"messages": [("user", question(task))]})["messages"]
    answers = [message for message in messages if message.response_metadata]
    results = [message for message in messages if message.type == "tool"]
    assert 1 <= len(answers) <= 3
    for message in answers:
        assert not message.invalid_tool_calls
        assert message.tool_calls or "stop" == message.response_metadata["finish_reason"]
    assert ["success"] * len(results) == [result.status for result in results]


def program_makes_an_object(server: ManagedServer, number: int) -> None:
    pytest.importorskip("llama_index.core", reason="LlamaIndex is not installed")
    from llama_index.core import PromptTemplate
    from llama_index.core.program import FunctionCallingProgram

    from mlxcel_integrations.llama_index import Mlxcel

    with Mlxcel(socket=str(server.socket), **TOKENS) as llm:
        prompt = PromptTemplate("Describe tree {n}.")
        program = FunctionCallingProgram.from_defaults(Tree, llm=llm, prompt=prompt)
        assert isinstance(program(n=number), Tree)


def selector_chooses(server: ManagedServer, number: int) -> None:
    pytest.importorskip("llama_index.core", reason="LlamaIndex is not installed")
    from llama_index.core.selectors.utils import get_selector_from_llm
    from llama_index.core.tools import ToolMetadata

    from mlxcel_integrations.llama_index import Mlxcel

    choices = [
        ToolMetadata(description=f"About {name}.", name=name) for name in ("rivers", "towns")
    ]
    with Mlxcel(socket=str(server.socket), **TOKENS) as llm:
        chosen = get_selector_from_llm(llm).select(choices, f"What is town {number}?")
    assert 1 == len(chosen.selections)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: str(task[0]))
def test_twenty_tasks_have_only_valid_calls(
    server: ManagedServer, task: tuple[int, int, int]
) -> None:
    agent_calls(server, task)
    program_makes_an_object(server, task[0])
    selector_chooses(server, task[0])


def test_a_call_is_forced_where_the_template_knows_no_tools(server: ManagedServer) -> None:
    with LLM(socket=server.socket) as llm:
        tools: Any = [
            {
                "type": "function",
                "function": {
                    "name": "say",
                    "parameters": {
                        "type": "object",
                        "properties": {"word": {"enum": ["harbour", "lighthouse"]}},
                        "required": ["word"],
                    },
                },
            }
        ]
        assert llm.features.tools is False
        reply = llm.complete_chat("Say a word.", tools=tools, tool_choice="say", max_tokens=64)
        assert ["say"] == [call["function"]["name"] for call in reply.tool_calls or ()]
        assert "tool_calls" == reply.finish_reason
