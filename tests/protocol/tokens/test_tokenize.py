"""Counts of texts: the requests, and what is made of the answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.flow import Call
from mlxcel_integrations.protocol.strict_roles import Roles
from mlxcel_integrations.protocol.tokens.tokenize import (
    BATCH_CHARACTERS,
    TokenMemory,
    can_count_at_once,
    count_texts,
    read_text,
)
from mlxcel_integrations.transport.token_cache import TokenCache
from tests.protocol.flows import drive, failure

EOS, BOS = 1, 2


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
        refuses: Whether it answers an error to a body.
    """

    def __init__(
        self,
        props: Any = {"eos_token": "<eos>"},  # noqa: B006 - never changed
        *,
        arrays: bool = True,
        joins: bool = False,
        refuses: Callable[[Mapping[str, Any]], bool] = lambda body: False,
    ) -> None:
        self.props, self.arrays, self.joins, self.refuses = props, arrays, joins, refuses
        self.asked: list[Call] = []

    def __call__(self, ask: Call) -> Any:
        self.asked.append(ask)
        if ask.path == "/props":
            return self.props
        assert "/tokenize" == ask.path
        assert ask.body is not None
        if self.refuses(ask.body):
            return failure(400)
        content, special = ask.body["content"], ask.body.get("parse_special", True)
        begin = [BOS] if ask.body.get("add_special", True) and content != "<eos>" else []
        if isinstance(content, str):
            return {"tokens": begin + tokens(content, special)}
        if not self.arrays:
            return failure(422)
        ids = [[part] if isinstance(part, int) else tokens(part, special) for part in content]
        if self.joins:
            ids = [part[:1] for part in ids]
        return {"tokens": begin + [token for part in ids for token in part]}

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


@pytest.mark.parametrize("text", ["hello", "hello" * 1000])
def test_one_text_takes_one_request(text: str) -> None:
    server = Server()

    assert [len(text)] == drive(count_texts([text], memory()), server)
    assert [{"content": text, "add_special": False}] == [ask.body for ask in server.asked]


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
        Server(failure(403)),
        Server({}),
        Server({"eos_token": ""}),
        Server({"eos_token": "no control token"}),
        Server(["props"]),
        Server(arrays=False),
        Server(joins=True),
        Server(refuses=lambda body: body["content"] == "<eos>"),
    ],
    ids=[
        "no props",
        "props off",
        "props forbidden",
        "silent",
        "no end",
        "long end",
        "list",
        "no arrays",
        "wrong",
        "end refused",
    ],
)
def test_a_server_that_cannot_count_many_at_once_counts_each(server: Server) -> None:
    known = memory()

    assert [1, 2, 3] == drive(count_texts(["a", "bb", "ccc"], known), server)
    server.asked.clear()
    assert [4, 5] == drive(count_texts(["dddd", "eeeee"], known), server)
    assert ["dddd", "eeeee"] == server.singles
    assert 2 == len(server.asked)


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


def test_a_request_is_filled_to_the_last_character() -> None:
    server = Server()
    texts = [f"{number}" + "x" * (BATCH_CHARACTERS // 2 - 1) for number in range(4)]

    drive(count_texts(texts, memory()), server)

    assert [texts[:2], texts[2:]] == server.batches[1:]


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
    server = Server(refuses=lambda body: body["content"] == "x<eos> [2]")
    texts = ["word " * 50 + "x<eos>", "[2] " + "word " * 50 + "x<eos>"]
    expected = [len(tokens(text, True)) for text in texts]

    assert expected == drive(count_texts(texts, memory()), server)


def test_one_text_with_the_separator_does_not_make_the_others_be_asked_for_alone() -> None:
    server, known = Server(), memory()
    drive(can_count_at_once(known), server)
    server.asked.clear()
    texts = [f"<{number}>" for number in range(63)] + ["<eos>"]

    assert [len(tokens(text, True)) for text in texts] == drive(count_texts(texts, known), server)
    assert ["<62>", "<eos>"] == server.singles


def test_a_long_text_with_the_separator_is_counted_right() -> None:
    server, known = Server(), memory()
    drive(can_count_at_once(known), server)

    assert [1001] == drive(count_texts(["<eos>" + "x" * 1000], known), server)


def test_an_error_in_counting_is_told_as_the_server_tells_it() -> None:
    with pytest.raises(AssertionError, match="/tokenize answered 404"):
        drive(count_texts(["a"], memory()), lambda ask: failure(404))


def test_what_was_found_out_of_another_server_is_forgotten() -> None:
    counts, roles, known = TokenCache(), Roles(), memory()
    known.roles, known.batches, known.separator, known.route = roles, True, 1, "/apply-template"
    known.local, known.searched = encode, True
    known.forget(counts)

    assert vars(TokenMemory(counts, roles)) == vars(known)


def test_that_many_are_counted_at_once_is_found_out_once() -> None:
    known = memory()

    assert drive(can_count_at_once(known), Server())
    server = Server()
    assert drive(can_count_at_once(known), server)
    assert [] == server.asked
    assert not drive(can_count_at_once(memory()), Server(arrays=False))


def test_a_text_longer_than_a_batch_is_counted_alone() -> None:
    server = Server()
    long = "b" * (BATCH_CHARACTERS + 1)
    texts = [long, "a", long + "b", "c"]

    assert [len(text) for text in texts] == drive(count_texts(texts, memory()), server)


def test_what_is_no_text_is_told_before_anything_is_asked() -> None:
    server = Server()

    with pytest.raises(MlxcelError, match=r"text\[1\] is int"):
        drive(count_texts(["a", 1], memory()), server)  # type: ignore[list-item]  # the mistake
    assert [] == server.asked


UNKNOWN = "The server's {} answered in an unknown form. Check that the address is that of an mlxcel"


@pytest.mark.parametrize("answer", [{}, None, "a", {"tokens": None}, {"tokens": ["a"]}], ids=repr)
def test_an_answer_without_tokens_is_told(answer: Any) -> None:
    with pytest.raises(MlxcelError, match=f"^{UNKNOWN.format('/tokenize')} server"):
        drive(count_texts(["a"], memory()), lambda ask: answer)


def test_a_text_is_read() -> None:
    assert "Malmö" == read_text({"content": "Malmö"})


@pytest.mark.parametrize("answer", [{}, None, "a", {"content": None}, {"content": ["a"]}], ids=repr)
def test_an_answer_without_a_text_is_told(answer: Any) -> None:
    with pytest.raises(MlxcelError, match=f"^{UNKNOWN.format('/detokenize')} server"):
        read_text(answer)
