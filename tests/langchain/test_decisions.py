"""`MlxcelDecision` against a scripted server, and on the engine."""

from __future__ import annotations

import builtins
import importlib
import sys
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolCall

from mlxcel_integrations import MlxcelError
from tests.fakes.decider import Decider
from tests.fakes.server import FakeServer

decisions = pytest.importorskip("langchain_core.decisions", reason="needs langchain-core 1.8")
Call = Callable[..., Any]


def model(server: FakeServer, **options: Any) -> Any:
    from mlxcel_integrations.langchain import MlxcelDecision

    return MlxcelDecision(base_url=server.url, **options)


TEAM = {"instructions": "Which team?", "criteria": {"billing": "Payments.", "bugs": None}}
CASES = [
    (
        "Choice",
        TEAM,
        {"billing": 0.8, "bugs": 0.2},
        {
            "type": "choice",
            "choice": "billing",
            "probabilities": {"billing": 0.8, "bugs": 0.2},
            "confidence": 0.8,
        },
    ),
    (
        "Noul",
        {"instructions": "Is it urgent?", "criteria": {"true": "Now.", "false": None}},
        {"yes": 0.3, "no": 0.7},
        {"type": "noul", "noul": 0.3},
    ),
    (
        "Score",
        {"instructions": "How angry?", "criteria": ["calm", {"very": "angry"}]},
        {"0": 0.25, "1": 0.75},
        {
            "type": "score",
            "score": 0.75,
            "legend": {0: "calm", 1: {"very": "angry"}},
            "probabilities": {0: 0.25, 1: 0.75},
            "confidence": 0.75,
        },
    ),
]


@pytest.mark.parametrize(
    ("kind", "fields", "shares", "expected"), CASES, ids=[case[0] for case in CASES]
)
def test_questions_are_answered_with_probabilities(
    server: FakeServer, call: Call, kind: str, fields: Any, shares: Any, expected: Any
) -> None:
    server.script(Decider(shares).reply())
    question = getattr(decisions, kind)(**fields)
    response = call(
        model(server), "invoke", {"state": "Charged twice.", "questions": {"q": question}}
    )

    answer = response.answers["q"].model_dump()
    assert approximately(expected) == approximately(answer)
    assert server.model_id == response.model
    assert response.usage["output_tokens"] > 0


def approximately(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: approximately(each) for key, each in value.items()}
    return round(value, 6) if isinstance(value, float) else value


STATES = [
    ("Charged twice.", ["user"], "Charged twice."),
    (HumanMessage("Charged twice."), ["user"], "Charged twice."),
    ([HumanMessage("Hi"), AIMessage("Yes?")], ["user", "assistant", "user"], ""),
    ([], ["user"], "[]"),
    ({"a": [1, None]}, ["user"], '{"a": [1, null]}'),
    (
        {"last": HumanMessage("Hi")},
        ["user"],
        '{"last": {"role": "user", "content": "Hi"}}',
    ),
]


@pytest.mark.parametrize(
    ("state", "roles", "beginning"), STATES,
    ids=["text", "message", "messages", "nothing", "object", "message in an object"],
)  # fmt: skip
def test_the_state_comes_first_and_the_question_last(
    server: FakeServer, state: Any, roles: list[str], beginning: str
) -> None:
    server.script(Decider({"billing": 0.8, "bugs": 0.2}).reply())
    model(server).invoke({"state": state, "questions": {"q": decisions.Choice(**TEAM)}})

    messages = server.posts[-1].json["messages"]
    assert roles == [message["role"] for message in messages]
    question = "Which team?\n- billing: Payments.\n\nAnswer with one of these labels, as JSON:\n"
    assert f"{beginning}\n\n{question}".lstrip() in messages[-1]["content"]
    assert messages[-1]["content"].startswith(beginning)


def test_several_questions_add_up_and_a_prior_is_asked_of_nothing(
    server: FakeServer, call: Call
) -> None:
    shares = ({"yes": 0.6, "no": 0.4}, {"yes": 0.9, "no": 0.1})
    server.script(*(Decider(one).reply() for one in (*shares, *shares)))
    ask = decisions.Noul(instructions="Is it?")
    response = call(
        model(server, calibrate=True), "invoke", {"state": "s", "questions": {"a": ask, "b": ask}}
    )

    assert ["a", "b"] == list(response.nouls)
    assert 1 / 7 == pytest.approx(response.nouls["a"].noul)
    assert ["s", "N/A", "s", "N/A"] == [
        post.json["messages"][-1]["content"].split("\n")[0] for post in server.posts
    ]
    assert response.usage["output_tokens"] >= 4


@pytest.mark.parametrize(
    ("questions", "message"),
    [({}, "questions is empty"), ({"b": "Box"}, r"questions\['b'\] is a Box")],
    ids=["none", "a box"],
)
def test_questions_that_cannot_be_answered_are_refused(
    server: FakeServer, call: Call, questions: Any, message: str
) -> None:
    asked = {name: getattr(decisions, kind)(instructions="?") for name, kind in questions.items()}

    with pytest.raises(MlxcelError, match=message):
        call(model(server), "invoke", {"state": "s", "questions": asked})
    assert not server.posts


@pytest.mark.filterwarnings("ignore:.*is in beta")
def test_it_routes_an_agent_to_a_model(server: FakeServer) -> None:
    middleware = pytest.importorskip("langchain.agents.middleware")
    from langchain.agents import create_agent

    def fake(text: str) -> GenericFakeChatModel:
        return GenericFakeChatModel(messages=iter([AIMessage(text)]))

    server.script(Decider({"fast": 0.1, "powerful": 0.9}).reply())
    router = middleware.ModelRouterMiddleware(
        choices={
            "fast": middleware.ModelChoice(model=fake("fast"), criteria="Simple tasks."),
            "powerful": middleware.ModelChoice(model=fake("powerful"), criteria="Hard tasks."),
        },
        instructions="Choose.",
        classifier=model(server),
    )
    answer = create_agent(fake("default"), middleware=[router]).invoke(
        {"messages": [HumanMessage("Prove it.")]}
    )

    assert "powerful" == answer["messages"][-1].text
    assert 0.9 == pytest.approx(answer["model_route"].confidence)


@pytest.mark.filterwarnings("ignore:.*is in beta")
def test_it_judges_a_tool_call(server: FakeServer) -> None:
    middleware = pytest.importorskip("langchain.agents.middleware.auto_mode")
    server.script(Decider({"yes": 0.95, "no": 0.05}).reply())
    auto = middleware.AutoModeMiddleware(tools=["remove"], classifier=model(server))
    request = middleware.ToolCallRequest(
        tool_call=ToolCall(name="remove", args={"path": "/"}, id="1"),
        tool=None,
        state={"messages": [HumanMessage("Clean up.")]},
        runtime=None,
    )
    result = auto.wrap_tool_call(request, lambda request: pytest.fail("was run"))

    assert "error" == result.status


def test_older_langchain_core_gets_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = "mlxcel_integrations.langchain.decisions"
    real = builtins.__import__

    def missing(name: str, *args: Any, **options: Any) -> Any:
        if name == "langchain_core.decisions":
            raise ModuleNotFoundError(name)
        return real(name, *args, **options)

    monkeypatch.delitem(sys.modules, wanted, raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"needs langchain-core 1\.8 or newer"):
        importlib.import_module(wanted)


@pytest.mark.engine
def test_the_engine_routes_a_request(call: Call) -> None:
    from mlxcel_integrations.langchain import MlxcelDecision

    question = decisions.Choice(
        instructions="Which team should handle this request?",
        criteria={"billing": "Payments and invoices.", "technical": "Bugs."},
    )
    response = call(
        MlxcelDecision(model="embedded"),
        "invoke",
        {"state": "My card was charged twice.", "questions": {"team": question}},
    )

    assert "billing" == response.choices["team"].choice
    assert response.usage["input_tokens"] > 0


@pytest.mark.parametrize(
    ("kind", "fields", "answer"),
    [
        ("Choice", {"instructions": "?", "criteria": {"a": ["two", "two"], "b": "six"}}, "a"),
        ("Choice", {"instructions": "?", "criteria": {"b": "six", "two": None}}, "two"),
        ("Noul", {"instructions": "?", "criteria": {"true": "two", "false": "six"}}, None),
        ("Score", {"instructions": "?", "criteria": ["six", "two"]}, None),
    ],
    ids=["examples", "label", "yes or no", "levels"],
)
def test_questions_are_answered_by_embeddings(
    server: FakeServer, call: Call, kind: str, fields: Any, answer: str | None
) -> None:
    server.models = [{"id": "e", "capabilities": ["embedding"]}]
    question = getattr(decisions, kind)(**fields)
    state = [HumanMessage("no"), AIMessage("so"), HumanMessage([{"type": "text", "text": "two"}])]
    request = {"state": state, "questions": {"q": question}}
    found = call(model(server, by_embeddings=True), "invoke", request).answers["q"]

    assert {"choice": answer}.get(found.type, answer) == getattr(found, "choice", None)
    assert getattr(found, "noul", 1.0) > 0.5
    assert getattr(found, "score", 1.0) > 0.5


@pytest.mark.parametrize(
    ("options", "criteria", "message"),
    [
        ({"by_embeddings": True}, None, r"questions\['q'\] has no criteria"),
        ({"by_embeddings": True}, {"true": "x"}, r"questions\['q'\] has no criteria"),
        ({"by_embeddings": True, "calibrate": True}, None, "leave one of them out"),
    ],
    ids=["nothing", "half", "calibrated"],
)
def test_what_embeddings_cannot_answer(
    server: FakeServer, options: Any, criteria: Any, message: str
) -> None:
    question = decisions.Noul(instructions="Urgent?", criteria=criteria)
    with pytest.raises(MlxcelError, match=message):
        model(server, **options).invoke({"state": "x", "questions": {"q": question}})
