"""Token ids, texts, and counts in batches: ``/tokenize`` and ``/detokenize``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from ...errors import MlxcelError
from ..arguments import as_strings
from ..failures import Failure
from ..flow import REJECTED_STATUSES, Call, Flow
from ..strict_roles import Roles
from ..validation import as_object, as_text

__all__ = [
    "Counts",
    "TokenMemory",
    "Uncounted",
    "can_count_at_once",
    "count_texts",
    "read_text",
    "read_tokens",
    "unreadable",
]

BATCH_CHARACTERS = 250_000
"""Characters in one request: older servers accept 2 MiB, and JSON needs up to 6 bytes for each."""

CONTROL_TOKEN_CHARACTERS = re.compile(r"[<>\[\]|]")
"""Characters in the names of control tokens, such as ``<eos>`` and ``[INST]``."""

LONG_TEXT = 1000
"""Length from which a search for control tokens in a text is slow, in characters."""

MAX_SUSPECT_SHARE = 0.25
"""Below this share of suspect text, a first request about the suspects alone is faster."""

SAMPLE = ("word", "", "  two words\n", "日本語 🎉", "a\n\n\nb\t\tc     d")
"""Texts that test batches: with different ends, and with runs that may become one token."""


class Counts(Protocol):
    """A cache of counts, by kind and text."""

    def get(self, kind: str, text: str) -> int | None:
        """Return a count, None if unknown."""

    def put(self, kind: str, text: str, count: int) -> None:
        """Remember a count."""


class Uncounted:
    """A cache of counts that keeps none."""

    def get(self, kind: str, text: str) -> int | None:
        """Return None."""

    def put(self, kind: str, text: str, count: int) -> None:
        """Do nothing."""


class TokenMemory:
    """What is known about counting on one server.

    Args:
        counts: Cached counts.
        roles: What is known about the roles of messages.

    Attributes:
        batches: Whether many texts can be counted in one request, None if not tried yet.
        separator: Token id between the texts of a batch.
        route: Route that counts messages, None if not tried yet.
        surplus: How many tokens too many this route counts for a chat, None if not known.
        checked: Whether the surplus was compared with what an answer says about its prompt.
        answered: A chat to compare with, in the form of Anthropic's messages, and the tokens of its
            prompt; None without one.
        local: A local tokenizer that gives the same ids as the server, None without one.
        searched: Whether a local tokenizer has been searched for.
    """

    def __init__(self, counts: Counts, roles: Roles | None = None) -> None:
        self.roles = roles or Roles()
        self.forget(counts)

    def forget(self, counts: Counts) -> None:
        """Forget everything: another server answers now."""
        self.counts = counts
        self.batches: bool | None = None
        self.separator: int | None = None
        self.route: str | None = None
        self.surplus: int | None = None
        self.checked = False
        self.answered: tuple[Mapping[str, Any], int] | None = None
        self.local: Callable[[str], list[int]] | None = None
        self.searched = False


def count_texts(texts: Iterable[str], memory: TokenMemory) -> Flow[list[int]]:
    """Return the number of tokens of each text, without those that begin a prompt.

    Raises:
        MlxcelError: One is not a string, or the server answers in an unknown form.
    """
    texts = as_strings("text", texts)
    counted: dict[str, int] = {}
    unknown: dict[str, None] = {}
    for text in texts:
        known = memory.counts.get("text", text)
        if known is None:
            unknown[text] = None
        else:
            counted[text] = known
    for batch in _batches(unknown):
        for text, count in zip(batch, (yield from _count_batch(batch, memory)), strict=True):
            counted[text] = count
            memory.counts.put("text", text, count)
    return [counted[text] for text in texts]


def can_count_at_once(memory: TokenMemory) -> Flow[bool]:
    """Return whether many texts can be counted in one request; this is tried once."""
    if memory.batches is None:
        yield from _try_batches(memory)
    return bool(memory.batches)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield groups of texts that fit into a request, all with marks or all without."""
    marked: dict[bool, list[str]] = {False: [], True: []}
    for text in texts:
        marked[CONTROL_TOKEN_CHARACTERS.search(text) is not None].append(text)
    for group in marked.values():
        yield from _pieces(group)


def _pieces(texts: list[str]) -> Iterator[list[str]]:
    first, size = 0, 0
    for index, text in enumerate(texts):
        if index > first and size + len(text) > BATCH_CHARACTERS:
            yield texts[first:index]
            first, size = index, 0
        size += len(text)
    if texts:
        yield texts[first:]


def _count_batch(texts: list[str], memory: TokenMemory) -> Flow[list[int]]:
    if len(texts) == 1 and (not memory.batches or len(texts[0]) < LONG_TEXT):
        return (yield from _count_each(texts))
    at_once = yield from can_count_at_once(memory)
    counts = (yield from _count_at_once(texts, memory)) if at_once else None
    if counts is not None:
        return counts
    if len(texts) == 1 or not at_once:
        return (yield from _count_each(texts))
    # One of them contains the separator: smaller groups leave fewer texts to count alone.
    half = len(texts) // 2
    first = yield from _count_batch(texts[:half], memory)
    return first + (yield from _count_batch(texts[half:], memory))


def _count_each(texts: Sequence[str]) -> Flow[list[int]]:
    counts = []
    for text in texts:
        answer = yield Call("/tokenize", {"content": text, "add_special": False}, frozenset())
        counts.append(len(read_tokens(answer)))
    return counts


def _count_at_once(texts: Sequence[str], memory: TokenMemory) -> Flow[list[int] | None]:
    """Return the counts of all texts from one request, None if they cannot be separated."""
    mixed: list[str | int | None] = [texts[0]]
    for text in texts[1:]:
        mixed += (memory.separator, text)
    special = yield from _may_have_control_tokens(texts)
    body = {"content": mixed, "add_special": False, "parse_special": special}
    answer = yield Call("/tokenize", body, REJECTED_STATUSES)
    if isinstance(answer, Failure):
        return None
    counts = [0]
    for token in read_tokens(answer):
        if token == memory.separator:
            counts.append(0)
        else:
            counts[-1] += 1
    return counts if len(counts) == len(texts) else None


def _may_have_control_tokens(texts: Sequence[str]) -> Flow[bool]:
    """Return whether texts may contain control tokens.

    Searching for them takes llama.cpp ten times as long as everything else. So if only a small
    part of long texts is suspect, this part is tokenized with the search and without.
    """
    marked = [text for text in texts if CONTROL_TOKEN_CHARACTERS.search(text)]
    words = dict.fromkeys(
        word for text in marked for word in text.split() if CONTROL_TOKEN_CHARACTERS.search(word)
    )
    suspects = " ".join(words)
    if len(suspects) >= sum(map(len, marked)) * MAX_SUSPECT_SHARE:
        return bool(marked)
    answers = []
    for special in (True, False):
        body = {"content": suspects, "add_special": False, "parse_special": special}
        answer = yield Call("/tokenize", body, REJECTED_STATUSES)
        if isinstance(answer, Failure):
            return True
        answers.append(read_tokens(answer))
    return bool(answers[0] != answers[1])


def _try_batches(memory: TokenMemory) -> Flow[None]:
    """Find a token to put between texts, and check that counts with it are right."""
    props = yield Call("/props", expected=REJECTED_STATUSES)
    # Texts contain the end-of-text token only if they spell out its name.
    end = as_text(as_object(props).get("eos_token"))
    answer = (yield Call("/tokenize", {"content": end}, REJECTED_STATUSES)) if end else None
    tokens = [] if answer is None or isinstance(answer, Failure) else read_tokens(answer)
    if len(tokens) != 1:
        memory.batches = False
        return
    memory.separator = tokens[0]
    together = yield from _count_at_once(SAMPLE, memory)
    memory.batches = together == (yield from _count_each(SAMPLE))


def read_tokens(answer: Any) -> list[int]:
    """Read the answer of ``/tokenize``.

    Raises:
        MlxcelError: It has no tokens.
    """
    try:
        tokens = list(answer["tokens"])
    except (KeyError, TypeError):
        tokens = [None]
    if set(map(type, tokens)) - {int}:
        raise MlxcelError(unreadable("/tokenize"))
    return tokens


def read_text(answer: Any) -> str:
    """Read the answer of ``/detokenize``.

    Raises:
        MlxcelError: It has no text.
    """
    text = as_text(as_object(answer).get("content"))
    if text is None:
        raise MlxcelError(unreadable("/detokenize"))
    return text


def unreadable(route: str) -> str:
    """Return the message about a route that answered in an unknown form."""
    return (
        f"The server's {route} answered in an unknown form. Check that the address is that of an "
        "mlxcel server."
    )
