"""Conversations that other providers began go on, in both frameworks."""

from __future__ import annotations

import copy
import importlib
from typing import Any

import pytest

from mlxcel_integrations.protocol.messages import inspect
from tests.adapters.frameworks import FRAMEWORKS, Framework, Json
from tests.adapters.ways import CHATS, Way
from tests.fakes.server import FakeServer

QUESTION = "Weather in Paris and Rome?"


def histories(framework: type[Framework] | Framework) -> Any:
    """Return the module with the answers of other providers."""
    return importlib.import_module(framework.histories)


def all_answers() -> list[Any]:
    """Return a framework and the name of one of its answers, for each."""
    found = []
    for framework in FRAMEWORKS:
        try:
            names = list(histories(framework).ANSWERS)
        except ModuleNotFoundError:
            continue  # this framework is not installed
        found += [
            pytest.param(framework(), name, id=f"{framework.__name__}-{name}") for name in names
        ]
    return found


@pytest.mark.parametrize(("framework", "name"), all_answers())
@pytest.mark.parametrize("reasoning", [True, False])
def test_a_conversation_of_another_provider_goes_on(
    framework: Framework, name: str, reasoning: bool
) -> None:
    module = histories(framework)
    messages = [framework.user(QUESTION), module.ANSWERS[name], *module.results(name)]
    before = copy.deepcopy(messages)

    conversation = inspect(framework.sent(messages, reasoning=reasoning))

    assert conversation.problem is None
    conversation.check_media(None)
    assert before == messages
    question, said, *answered = conversation.messages
    assert {"role": "user", "content": QUESTION} == question
    first, second = ids = [call["id"] for call in said["tool_calls"]]
    assert first != second
    given = [framework.call_of(result) for result in module.results(name)]
    assert ids == given or len({*given}) == 1, "ids that the provider made are kept"
    calls = [sent_call(first, "Paris"), sent_call(second, "Rome")]
    expected: Json = {"role": "assistant", "content": "I look.", "tool_calls": calls}
    if reasoning and name not in module.THOUGHTLESS:
        expected["reasoning_content"] = "Two cities."
    assert expected == said
    assert [
        {"role": "tool", "content": "sunny", "tool_call_id": first},
        {"role": "tool", "content": "rainy", "tool_call_id": second},
    ] == answered


def sent_call(identity: str, city: str) -> Json:
    function = {"name": "get_weather", "arguments": f'{{"city": "{city}"}}'}
    return {"id": identity, "type": "function", "function": function}


@pytest.mark.parametrize("generation", ["newest", "v0.4.2"])
@pytest.mark.parametrize("way", [way for way in CHATS if not way.streams], indirect=True, ids=str)
def test_servers_take_the_conversations_of_all_providers(server: FakeServer, way: Way) -> None:
    framework = way.framework()
    module = histories(framework)
    thanks = framework.user("Thanks.")

    with way.model(server) as llm:
        texts = {
            name: framework.text(
                way.ask(llm, [framework.user(QUESTION), answer, *module.results(name), thanks])
            )
            for name, answer in module.ANSWERS.items()
        }

    assert dict.fromkeys(module.ANSWERS, "echo: Thanks.") == texts
