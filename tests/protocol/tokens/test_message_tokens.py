"""Counts of messages: the three routes, and the form of Anthropic's messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.flow import Call
from mlxcel_integrations.protocol.tokens.anthropic_form import to_anthropic
from mlxcel_integrations.protocol.tokens.message_tokens import chat_to_check, count_chat
from mlxcel_integrations.protocol.tokens.tokenize import TokenMemory, count_texts
from mlxcel_integrations.transport.token_cache import TokenCache
from tests.protocol.flows import drive, failure

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
OPENAI, ANTHROPIC = "/v1/chat/completions/input_tokens", "/v1/messages/count_tokens"
TEMPLATE = "/apply-template"
UNKNOWN = "The server's {} answered in an unknown form. Check that the address is that of an mlxcel"


def memory() -> TokenMemory:
    return TokenMemory(TokenCache())


def routes(**answers: Any) -> Callable[[Call], Any]:
    """Answer the three ways; what is not named is missing."""
    by_path = {
        OPENAI: answers.get("openai", failure(404)),
        ANTHROPIC: answers.get("anthropic", failure(405)),
        TEMPLATE: answers.get("template", failure(501)),
        "/tokenize": answers.get("tokenize", {"tokens": []}),
    }
    return lambda ask: by_path[ask.path]


@pytest.mark.parametrize(
    ("answers", "route"),
    [
        ({"openai": {"input_tokens": 7}, "anthropic": {"input_tokens": 8}}, OPENAI),
        ({"anthropic": {"input_tokens": 7}, "template": {"prompt": "x"}}, ANTHROPIC),
        ({"template": {"prompt": "x"}, "tokenize": {"tokens": [2, 5, 6, 7, 8, 9, 9]}}, TEMPLATE),
        # The template and the tokenizer each put a token at the beginning.
        ({"template": {"prompt": "x"}, "tokenize": {"tokens": [2, 2, 3, 4, 5, 6, 7, 8]}}, TEMPLATE),
    ],
    ids=["openai", "anthropic", "template", "doubled beginning"],
)
def test_messages_are_counted_the_best_way_there_is(answers: dict[str, Any], route: str) -> None:
    known = memory()

    assert 7 == drive(count_chat(BODY, known), routes(**answers))
    assert route == known.route


@pytest.mark.parametrize("ids", [[], [2], [2, 2], [2, 2, 2], [2, 3]], ids=repr)
def test_only_a_doubled_beginning_is_counted_once(ids: list[int]) -> None:
    doubled = ids[:2] == [2, 2]
    answers = routes(template={"prompt": "x"}, tokenize={"tokens": ids})

    assert len(ids) - doubled == drive(count_chat(BODY, memory()), answers)


def test_each_way_is_asked_in_its_own_form() -> None:
    body = {**BODY, "stop": ["END"]}
    sent = {"model": "m", "messages": BODY["messages"], "stop": ["END"]}
    answer = routes(template={"prompt": "<bos>hi"}, tokenize={"tokens": [2, 3]})
    asked: list[Call] = []

    def note(ask: Call) -> Any:
        asked.append(ask)
        return answer(ask)

    drive(count_chat(body, memory()), note)

    assert [
        (OPENAI, sent),
        (ANTHROPIC, to_anthropic(sent)),
        (TEMPLATE, sent),
        ("/tokenize", {"content": "<bos>hi", "add_special": True}),
    ] == [(ask.path, ask.body) for ask in asked]


def test_an_error_in_counting_a_prompt_is_told_as_the_server_tells_it() -> None:
    with pytest.raises(AssertionError, match="/tokenize answered 404"):
        drive(count_chat(BODY, memory()), routes(template={"prompt": "x"}, tokenize=failure(404)))


def test_what_is_missing_is_not_asked_for_again() -> None:
    known = memory()
    drive(count_chat(BODY, known), routes(anthropic={"input_tokens": 7}))
    asked = []

    def answer(ask: Call) -> Any:
        asked.append(ask.path)
        return {"input_tokens": 9}

    assert 9 == drive(count_chat({**BODY, "tools": []}, known), answer)
    assert [ANTHROPIC] == asked
    assert 0 == known.surplus


def test_a_server_that_counts_in_no_way_is_one_clear_error() -> None:
    known = memory()

    ways = f"none of {OPENAI}, {ANTHROPIC}, {TEMPLATE}"
    with pytest.raises(MlxcelError, match=f"cannot count.* {ways}.* Use a newer server, or count "):
        drive(count_chat(BODY, known), routes())
    assert known.route is None
    assert 7 == drive(count_chat(BODY, known), routes(openai={"input_tokens": 7}))


@pytest.mark.parametrize(
    ("answers", "route"),
    [
        ({"openai": {}}, "route for token counts"),
        ({"openai": "7"}, "route for token counts"),
        ({"openai": {"input_tokens": None}}, "route for token counts"),
        ({"template": {}}, TEMPLATE),
        ({"template": {"prompt": "x"}, "tokenize": {}}, "/tokenize"),
    ],
)
def test_an_answer_of_another_shape_is_told(answers: dict[str, Any], route: str) -> None:
    with pytest.raises(MlxcelError, match=f"^{UNKNOWN.format(route)} server"):
        drive(count_chat(BODY, memory()), routes(**answers))


def test_the_same_messages_are_counted_once_and_other_variables_are_others() -> None:
    asked: list[Any] = []

    def answer(ask: Call) -> Any:
        asked.append(ask.body)
        return {"input_tokens": 7}

    known = memory()
    thinking = {**BODY, "chat_template_kwargs": {"enable_thinking": True}}
    turned = dict(reversed(BODY.items()))
    for body in (BODY, thinking, BODY, turned, {**BODY, "stream": False}, thinking):
        assert 7 == drive(count_chat(body, known), answer)

    without = {"model": "m", "messages": BODY["messages"]}
    assert [without, {**without, "chat_template_kwargs": {"enable_thinking": True}}] == asked


def test_a_text_is_not_taken_for_messages() -> None:
    known = memory()
    drive(count_chat(BODY, known), routes(openai={"input_tokens": 7}))
    ((_, key),) = list(known.counts._counts)  # type: ignore[attr-defined]  # of the TokenCache

    assert [3] == drive(count_texts([key], known), lambda ask: {"tokens": [1, 2, 3]})


# --------------------------------------------------------------------------- the first token

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
BEGINS, DOES_NOT = {"tokens": [2]}, {"tokens": []}


@pytest.mark.parametrize(
    ("empty_text", "counted", "used"),
    [
        # As mlxcel 0.4.2 answers with Gemma 3, whose template writes <bos>: an ordinary chat, one
        # with a system message, one with a tool, and one that is empty.
        (BEGINS, 14, 13),
        (BEGINS, 19, 18),
        (BEGINS, 138, 137),
        (BEGINS, 4, 3),
        # And with a Qwen tokenizer, which puts nothing before a text.
        (DOES_NOT, 33, 33),
        (DOES_NOT, 56, 56),
        (DOES_NOT, 230, 230),
        # A server that does not tell.
        (failure(404), 14, 14),
        (failure(500), 14, 14),
    ],
)
def test_the_first_token_of_a_prompt_is_counted_once(
    empty_text: Any, counted: int, used: int
) -> None:
    answers = routes(anthropic={"input_tokens": counted}, tokenize=empty_text)

    assert used == drive(count_chat(BODY, memory()), answers)


@pytest.mark.parametrize(
    ("counted", "told", "used"),
    [
        (14, 13, 13),  # The template writes the token that the tokenizer adds.
        (14, 14, 14),  # It does not.
        (14, 99, 13),  # The answer is about another prompt.
    ],
)
def test_an_answer_tells_whether_the_first_token_is_counted_twice(
    counted: int, told: int, used: int
) -> None:
    known = memory()
    answers = routes(anthropic={"input_tokens": counted}, tokenize=BEGINS)
    assert 13 == drive(count_chat(BODY, known), answers)

    known.answered = to_anthropic(CHAT), told

    assert used == drive(count_chat(BODY, known), answers)
    assert (True, None) == (known.checked, known.answered)


def test_the_first_token_is_asked_for_once() -> None:
    known = memory()
    asked: list[Call] = []
    answers = routes(anthropic={"input_tokens": 14}, tokenize=BEGINS)

    def answer(ask: Call) -> Any:
        asked.append(ask)
        return answers(ask)

    drive(count_chat(BODY, known), answer)
    drive(count_chat(BODY, known), answer)
    known.answered = to_anthropic(CHAT), 13
    tool = {"type": "function", "function": {"name": "weather"}}
    drive(count_chat(BODY, known), answer)
    drive(count_chat({**BODY, "tools": [tool]}, known), answer)

    assert [OPENAI, ANTHROPIC, "/tokenize", ANTHROPIC, ANTHROPIC] == [ask.path for ask in asked]
    assert {"content": "", "add_special": True} == asked[2].body
    assert to_anthropic(CHAT) == asked[3].body


def test_a_route_that_counts_as_the_model_reads_needs_no_check() -> None:
    known = memory()
    answers = routes(openai={"input_tokens": 14}, tokenize=failure(500))

    assert 14 == drive(count_chat(BODY, known), answers)
    assert (None, None) == (known.surplus, chat_to_check(CHAT, known))


def test_another_server_is_another_template() -> None:
    known = memory()
    known.surplus, known.checked, known.answered = 1, True, (CHAT, 13)

    known.forget(TokenCache())

    assert (None, False, None) == (known.surplus, known.checked, known.answered)


LONG = {"role": "user", "content": "x" * 2001}


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        (CHAT, True),
        ({**CHAT, "temperature": 0, "stream": True}, True),
        ({"messages": [{"role": "system", "content": "x"}, *CHAT["messages"]]}, True),
        ({"messages": [*CHAT["messages"], {"role": "assistant", "content": "y"}]}, True),
        ({"messages": [*CHAT["messages"], {"role": "system", "content": "x"}]}, False),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, False),
        ({"messages": [{"role": "user", "content": None}]}, False),
        ({"messages": [{"role": "user", "content": "hi", "name": "Ada"}]}, False),
        ({"messages": [{"role": "tool", "content": "x"}]}, False),
        ({"messages": [{"role": "user", "content": "x" * 2000}]}, True),
        ({"messages": [LONG]}, False),
        ({"messages": ["hi"]}, False),
        ({"messages": "hi"}, False),
        ({"messages": []}, False),
        ({**CHAT, "tools": []}, False),
        ({**CHAT, "chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"prompt": "hi"}, False),
    ],
)
def test_only_a_plain_chat_is_kept_to_check_counts_by(request_body: Any, expected: bool) -> None:
    body = {"model": "m", **request_body}

    assert (to_anthropic(body) if expected else None) == chat_to_check(body, memory())


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, True),
        ({"route": ANTHROPIC}, True),
        ({"route": ANTHROPIC, "surplus": 1}, True),
        ({"route": OPENAI}, False),
        ({"surplus": 0}, False),
        ({"checked": True}, False),
        ({"answered": ({}, 1)}, False),
    ],
)
def test_one_chat_is_kept_and_only_where_it_is_needed(
    known: dict[str, Any], expected: bool
) -> None:
    counting = memory()
    for name, value in known.items():
        setattr(counting, name, value)

    assert expected is (chat_to_check(CHAT, counting) is not None)
