"""Questions of decision models as text: instructions and criteria that are no strings."""

from __future__ import annotations

import pytest

decisions = pytest.importorskip("langchain_core.decisions", reason="needs langchain-core 1.8")


def test_instructions_and_criteria_may_be_json() -> None:
    from mlxcel_integrations.langchain.questions import asked_questions

    question = decisions.Choice(
        instructions={"do": "größer"}, criteria={"a": {"if": ["x"]}, "b": None, "c": "Text."}
    )
    asked = asked_questions("s", {"q": question}, calibrate=True)["q"]

    text = '{"do": "größer"}\n- a: {"if": ["x"]}\n- c: Text.'
    assert f"s\n\n{text}" == asked.messages[-1]["content"]
    assert [{"role": "user", "content": f"N/A\n\n{text}"}] == asked.calibrate
    assert ["a", "b", "c"] == asked.labels
