"""How much of a prompt is reused from one turn to the next, in the usual order and in a better one.

``python -m tests.evaluation.prompt_orders`` prints the table of ``docs/prompt-cache.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlxcel_integrations import LLM

__all__ = ["table"]

Message = dict[str, Any]
Turn = tuple[list[Message], Sequence[Message]]

TURNS = 6
"""Questions that were asked and answered before the two turns that are compared."""

RULES = "You help the visitors of a library. " + "Be polite, be brief, and say if unsure. " * 8
NAMES = ("search", "reserve", "renew", "opening_hours", "events")


def _says(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _history(turns: int) -> list[Message]:
    return [
        _says(role, f"{text} {turn}: " + "the book, its shelf and its floor. " * 3)
        for turn in range(turns)
        for role, text in (("user", "Question"), ("assistant", "Answer"))
    ]


def _passages(turn: int) -> str:
    return "\n".join(f"Passage {turn * 3 + at}: " + "a page of a book. " * 12 for at in range(3))


def _question(turn: int) -> str:
    return f"Question {turn}: where is the book?"


def _tool(name: str) -> Message:
    function = {"name": name, "description": f"Library: {name}.", "parameters": {"type": "object"}}
    return {"type": "function", "function": function}


def _time_in_system_message(turn: int) -> Turn:
    system = _says("system", f"It is 9:{40 + turn}. {RULES}")
    return [system, *_history(turn), _says("user", _question(turn))], ()


def _time_in_last_message(turn: int) -> Turn:
    last = _says("user", f"It is 9:{40 + turn}. {_question(turn)}")
    return [_says("system", RULES), *_history(turn), last], ()


def _passages_in_system_message(turn: int) -> Turn:
    system = _says("system", f"{RULES}\n{_passages(turn)}")
    return [system, *_history(turn), _says("user", _question(turn))], ()


def _passages_in_last_message(turn: int) -> Turn:
    last = _says("user", f"{_passages(turn)}\n{_question(turn)}")
    return [_says("system", RULES), *_history(turn), last], ()


def _tools_by_relevance(turn: int) -> Turn:
    names = NAMES[turn % 5 :] + NAMES[: turn % 5]
    return _time_in_last_message(turn)[0], [_tool(name) for name in names]


def _tools_in_one_order(turn: int) -> Turn:
    return _time_in_last_message(turn)[0], [_tool(name) for name in NAMES]


def _last_messages(turn: int) -> Turn:
    system, *others = _time_in_last_message(turn)[0]
    return [system, *others[-9:]], ()


def _cut_seldom(turn: int) -> Turn:
    system, *others = _time_in_last_message(turn)[0]
    # The same six messages are missing until the next cut.
    return [system, *others[6:]], ()


ORDERS: dict[str, tuple[Callable[[int], Turn], str, Callable[[int], Turn]]] = {
    "the time, or the name of a user, in the system message": (
        _time_in_system_message,
        "in the last user message",
        _time_in_last_message,
    ),
    "retrieved passages before the history: `ContextChatEngine`, or `{context}` in the system "
    "message of a `ChatPromptTemplate`": (
        _passages_in_system_message,
        "`{context}` in the last user message, and the plain question in the memory",
        _passages_in_last_message,
    ),
    "tools in the order of their relevance, or of a `set`": (
        _tools_by_relevance,
        "all tools, always in the same order",
        _tools_in_one_order,
    ),
    "the last messages only: `trim_messages`, `ChatMemoryBuffer`": (
        _last_messages,
        "cut seldom, and more at once",
        _cut_seldom,
    ),
}
"""Usual orders, what to do instead, and the turns of both."""


def table(llm: LLM) -> str:
    """Return the table of the page."""
    rows = [
        f"| {usual} | {_reused(llm, one)} | {better} | {_reused(llm, other)} |"
        for usual, (one, better, other) in ORDERS.items()
    ]
    head = "| Usual | reused | Better | reused |\n| --- | ---: | --- | ---: |\n"
    return head + "\n".join(rows) + "\n"


def _reused(llm: LLM, turn: Callable[[int], Turn]) -> str:
    """Return the part of the tokens of a turn that is reused, and where the prompts part."""
    (before, tools_before), (after, tools) = turn(TURNS), turn(TURNS + 1)
    shared = llm.explain_cache(before, after, tools=tools, tools_before=tools_before)
    return f"{100 * shared.reused / shared.tokens:.0f} %"


if __name__ == "__main__":
    with LLM("embedded") as engine:
        print(table(engine), end="")
