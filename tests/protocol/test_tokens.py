"""How texts and messages are counted: what is asked, and what is made of the answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.chat_tokens import count_chat
from mlxcel_integrations.protocol.flow import Ask
from mlxcel_integrations.protocol.tokens import (
    BATCH_CHARACTERS,
    TokenMemory,
    can_count_at_once,
    count_texts,
)
from mlxcel_integrations.token_cache import TokenCache
from tests.protocol.flows import drive, failure

EOS = 1
BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
OPENAI, ANTHROPIC = "/v1/chat/completions/input_tokens", "/v1/messages/count_tokens"
TEMPLATE = "/apply-template"


def memory() -> TokenMemory:
    return TokenMemory(TokenCache())


def tokens(text: str, special: bool) -> list[int]:
    """One token for each character, and one for the name of the end."""
    parts = re.split("(<eos>)", text) if special else [text]
    return [
        token
        for part in parts
        for token in ([EOS] if special and part == "<eos>" else encode(part))
    ]


def encode(text: str) -> list[int]:
    return [ord(character) + 10 for character in text]


class Server:
    """Tokenizes, and remembers what it was asked.

    Args:
        props: What ``/props`` answers.
        arrays: Whether several texts are taken at once.
        joins: Whether it gets them wrong.
    """

    def __init__(
        self,
        props: Any = {"eos_token": "<eos>"},  # noqa: B006 - never changed
        *,
        arrays: bool = True,
        joins: bool = False,
    ) -> None:
        self.props, self.arrays, self.joins = props, arrays, joins
        self.asked: list[Ask] = []

    def __call__(self, ask: Ask) -> Any:
        self.asked.append(ask)
        if ask.path == "/props":
            return self.props
        assert ask.path == "/tokenize"
        assert ask.body is not None
        content, special = ask.body["content"], ask.body.get("parse_special", True)
        if isinstance(content, str):
            return {"tokens": tokens(content, special)}
        if not self.arrays:
            return failure(422)
        ids = [[part] if isinstance(part, int) else tokens(part, special) for part in content]
        if self.joins:
            ids = [part[:1] for part in ids]
        return {"tokens": [token for part in ids for token in part]}

    @property
    def batches(self) -> list[list[str]]:
        """The texts of each request for several."""
        contents = [ask.body["content"] for ask in self.asked if ask.body]
        return [content[::2] for content in contents if isinstance(content, list)]

    @property
    def singles(self) -> list[str]:
        contents = [ask.body["content"] for ask in self.asked if ask.body]
        return [content for content in contents if isinstance(content, str)]


def test_no_text_asks_nothing() -> None:
    server = Server()

    assert [] == drive(count_texts([], memory()), server)
    assert [] == server.asked


def test_one_text_takes_one_request() -> None:
    server = Server()

    assert [5] == drive(count_texts(["hello"], memory()), server)
    assert [{"content": "hello", "add_special": False}] == [ask.body for ask in server.asked]


def test_many_texts_take_one_request_once_it_is_known_how() -> None:
    server, known = Server(), memory()
    drive(count_texts(["a", "b"], known), server)
    server.asked.clear()

    texts = [f"text {number}" for number in range(1000)]
    assert [len(text) for text in texts] == drive(count_texts(texts, known), server)
    assert [texts] == server.batches
    assert [] == server.singles


def test_control_tokens_are_looked_for_only_where_a_text_may_name_one() -> None:
    server, known = Server(), memory()
    drive(count_texts(["a", "b"], known), server)
    server.asked.clear()

    assert [1, 3, 1, 3] == drive(count_texts(["x", "[y]", "z", "<w>"], known), server)
    asked = [
        (ask.body["content"][::2], ask.body["parse_special"]) for ask in server.asked if ask.body
    ]
    assert [(["x", "z"], False), (["[y]", "<w>"], True)] == asked


def test_texts_that_hold_the_separator_are_counted_right() -> None:
    server = Server()
    texts = ["<a>", "b <eos> c", "<eos><eos>", "<d>", "<e>", "<eos>"]

    assert [3, 5, 2, 3, 3, 1] == drive(count_texts(texts, memory()), server)


TEXTS = st.lists(st.sampled_from(["a", " ", "\n", "é", "🎉", "<", ">", "[", "<eos>"])).map("".join)


@given(st.lists(TEXTS, max_size=30))
def test_the_counts_are_those_of_the_texts_alone(texts: list[str]) -> None:
    expected = [len(tokens(text, True)) for text in texts]

    assert expected == drive(count_texts(texts, memory()), Server())


@pytest.mark.parametrize(
    "server",
    [
        Server(failure(404)),
        Server(failure(501)),
        Server({}),
        Server({"eos_token": ""}),
        Server({"eos_token": "no control token"}),
        Server(["props"]),
        Server(arrays=False),
        Server(joins=True),
    ],
    ids=["no props", "props off", "silent", "no end", "long end", "list", "no arrays", "wrong"],
)
def test_a_server_that_cannot_count_many_at_once_counts_each(server: Server) -> None:
    known = memory()

    assert [1, 2, 3] == drive(count_texts(["a", "bb", "ccc"], known), server)
    server.asked.clear()
    assert [4, 5] == drive(count_texts(["dddd", "eeeee"], known), server)
    assert ["dddd", "eeeee"] == server.singles
    assert len(server.asked) == 2


def test_a_server_that_takes_several_texts_no_more_counts_each() -> None:
    server, known = Server(), memory()
    drive(count_texts(["a", "b"], known), server)
    server.arrays = False

    assert [2, 2, 2] == drive(count_texts(["cc", "dd", "ee"], known), server)


def test_what_is_known_is_not_asked_again_and_nothing_twice() -> None:
    server, known = Server(), memory()
    texts = ["one", "two", "one", "three", "two"]

    assert [3, 3, 3, 5, 3] == drive(count_texts(texts, known), server)
    assert [["one", "two", "three"]] == server.batches[1:]
    server.asked.clear()
    assert [3, 3, 3, 5, 3] == drive(count_texts(texts, known), server)
    assert [] == server.asked


def test_a_request_stays_smaller_than_old_servers_take() -> None:
    server = Server()
    texts = [f"{number}" + "x" * (BATCH_CHARACTERS // 3) for number in range(7)]

    assert [len(text) for text in texts] == drive(count_texts(texts, memory()), server)
    assert [2, 2, 2, 1] == [len(batch) for batch in server.batches[1:]]


@pytest.mark.parametrize(
    ("part", "special"), [("x[1] ", False), ("<eos> ", True), ("<no> a|b ", False)]
)
def test_long_texts_are_searched_for_control_tokens_only_if_they_have_some(
    part: str, special: bool
) -> None:
    server = Server()
    texts = ["word " * 50 + part + "word " * 50, "word " * 50 + part, "word"]
    expected = [len(tokens(text, True)) for text in texts]

    assert expected == drive(count_texts(texts, memory()), server)
    suspects = part.strip()
    bodies = [ask.body for ask in server.asked if ask.body and "parse_special" in ask.body]
    assert {True, False} == {b["parse_special"] for b in bodies if b["content"] == suspects}
    assert {special} == {b["parse_special"] for b in bodies if texts[0] in b["content"]}


def test_a_server_that_refuses_to_tell_is_asked_to_search() -> None:
    class Fussy(Server):
        def __call__(self, ask: Ask) -> Any:
            if ask.body and ask.body["content"] == "x[1] [2]":
                self.asked.append(ask)
                return failure(400)
            return super().__call__(ask)

    server = Fussy()
    texts = ["word " * 50 + "x[1]", "[2] " + "word " * 50 + "x[1]"]

    assert [len(text) for text in texts] == drive(count_texts(texts, memory()), server)


def test_that_many_are_counted_at_once_is_found_out_once() -> None:
    known = memory()

    assert drive(can_count_at_once(known), Server())
    server = Server()
    assert drive(can_count_at_once(known), server)
    assert [] == server.asked
    assert not drive(can_count_at_once(memory()), Server(arrays=False))


def test_a_text_longer_than_a_batch_is_counted_alone() -> None:
    server = Server()
    texts = ["a", "b" * (BATCH_CHARACTERS + 1), "c"]

    assert [1, BATCH_CHARACTERS + 1, 1] == drive(count_texts(texts, memory()), server)


def test_what_is_no_text_is_told_before_anything_is_asked() -> None:
    server = Server()

    with pytest.raises(MlxcelError, match=r"texts\[1\] is int"):
        drive(count_texts(["a", 1], memory()), server)  # type: ignore[list-item]  # the mistake
    assert [] == server.asked


# --------------------------------------------------------------------------- messages


def routes(**answers: Any) -> Callable[[Ask], Any]:
    """Answer the three ways; what is not named is missing."""
    by_path = {
        OPENAI: answers.get("openai", failure(404)),
        ANTHROPIC: answers.get("anthropic", failure(405)),
        TEMPLATE: answers.get("template", failure(501)),
        "/tokenize": answers.get("tokenize"),
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


def test_what_is_missing_is_not_asked_for_again() -> None:
    known = memory()
    drive(count_chat(BODY, known), routes(anthropic={"input_tokens": 7}))
    asked = []

    def answer(ask: Ask) -> Any:
        asked.append(ask.path)
        return {"input_tokens": 9}

    assert 9 == drive(count_chat({**BODY, "tools": []}, known), answer)
    assert [ANTHROPIC] == asked


def test_a_server_that_counts_in_no_way_is_one_clear_error() -> None:
    known = memory()

    with pytest.raises(MlxcelError, match=r"cannot count.*input_tokens.*count_tokens.*template"):
        drive(count_chat(BODY, known), routes())
    assert known.route is None
    assert 7 == drive(count_chat(BODY, known), routes(openai={"input_tokens": 7}))


@pytest.mark.parametrize(
    "answers",
    [
        {"openai": {}},
        {"openai": "7"},
        {"openai": {"input_tokens": None}},
        {"template": {}},
        {"template": {"prompt": "x"}, "tokenize": {}},
    ],
)
def test_an_answer_of_another_shape_is_told(answers: dict[str, Any]) -> None:
    with pytest.raises(MlxcelError, match="unknown form"):
        drive(count_chat(BODY, memory()), routes(**answers))


def test_the_same_messages_are_counted_once_and_other_variables_are_others() -> None:
    asked: list[Any] = []

    def answer(ask: Ask) -> Any:
        asked.append(ask.body)
        return {"input_tokens": 7}

    known = memory()
    thinking = {**BODY, "chat_template_kwargs": {"enable_thinking": True}}
    for body in (BODY, thinking, BODY, {**BODY, "stream": False}, thinking):
        assert 7 == drive(count_chat(body, known), answer)

    without = {"model": "m", "messages": BODY["messages"]}
    assert [without, {**without, "chat_template_kwargs": {"enable_thinking": True}}] == asked


def test_a_text_is_not_taken_for_messages() -> None:
    known = memory()
    drive(count_chat(BODY, known), routes(openai={"input_tokens": 7}))
    ((_, key),) = list(known.counts._counts)  # type: ignore[attr-defined]  # of the TokenCache

    assert [len(key)] == drive(count_texts([key], known), Server())
