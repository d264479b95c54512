"""Server-sent events, whatever the chunking."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxcel_integrations.errors import MlxcelStreamError
from mlxcel_integrations.protocol.answers.sse import MAX_EVENT_BYTES, SSEDecoder

BOM = b"\xef\xbb\xbf"

# Streams with "\n" as the line end, and the data of their events.
STREAMS: dict[str, tuple[bytes, list[bytes]]] = {
    "nothing": (b"", []),
    "one event": (b"data: a\n\n", [b"a"]),
    "three events": (b"data: a\n\ndata: b\n\ndata: c\n\n", [b"a", b"b", b"c"]),
    "no space after the colon": (b"data:a\n\n", [b"a"]),
    "only one space is dropped": (b"data:  a \n\n", [b" a "]),
    "several lines": (b"data: a\ndata:\ndata: b\n\n", [b"a\n\nb"]),
    "a colon in the data": (b"data: a: b\n\n", [b"a: b"]),
    "data without a colon": (b"data\n\n", [b""]),
    "empty data": (b"data:\n\n", [b""]),
    "extra blank lines": (b"\n\ndata: a\n\n\n\n", [b"a"]),
    "comments": (b": ping\n\n:\n\ndata: a\n: inside\n\n:\n\n", [b"a"]),
    "a comment inside an event": (b"data: a\n:\ndata: b\n\n", [b"a\nb"]),
    "other fields": (b"event: x\nid: 1\nretry: 9\ndata: a\n\n", [b"a"]),
    "an event without data": (b"event: ping\n\ndata: a\n\n", [b"a"]),
    "names that only look like data": (b"datax: a\n data: b\ndata : c\n\n", []),
    "a mark at the start": (BOM + b"data: a\n\n", [b"a"]),
    "a mark later": (b"data: a\n\n" + BOM + b"data: b\n\n", [b"a"]),
    "a mark after an empty line": (b"\n" + BOM + b"data: a\n\ndata: b\n\n", [b"b"]),
    "an event that never ends": (b"data: a\n\ndata: b\n", [b"a"]),
    "a line that never ends": (b"data: a\n\ndata: b", [b"a"]),
    "separators that are text": (
        "data: a\u0085b\u2028c\u2029d\x0b\x0c\x1c\n\n".encode(),
        ["a\u0085b\u2028c\u2029d\x0b\x0c\x1c".encode()],
    ),
    "characters of two to four bytes": ("data: é日🎉\n\n".encode(), ["é日🎉".encode()]),
    "no UTF-8": (b"data: \xff\xfe\n\n", [b"\xff\xfe"]),
}
LINE_ENDS = {"LF": b"\n", "CR": b"\r", "CRLF": b"\r\n"}


def decode(pieces: Iterable[bytes], decoder: SSEDecoder | None = None) -> list[bytes]:
    decoder = decoder or SSEDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


def one_by_one(stream: bytes) -> Iterator[bytes]:
    return (stream[at : at + 1] for at in range(len(stream)))


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("line_end", LINE_ENDS)
def test_events_do_not_depend_on_chunks_or_line_ends(name: str, line_end: str) -> None:
    stream, expected = STREAMS[name]
    stream = stream.replace(b"\n", LINE_ENDS[line_end])

    assert expected == decode([stream])
    assert expected == decode(one_by_one(stream))
    for at in range(len(stream)):
        assert expected == decode([stream[:at], stream[at:]])
        assert expected == decode([stream[:at], b"", stream[at:]])


def test_an_event_may_mix_line_ends() -> None:
    stream = b"data: a\r\ndata: b\rdata: c\n\rdata: d\r\n\n"

    assert [b"a\nb\nc", b"d"] == decode([stream]) == decode(one_by_one(stream))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))),
    st.sampled_from(sorted(LINE_ENDS.values())),
    st.lists(st.integers(0, 400)),
)
def test_any_text_survives_any_splits(texts: list[str], line_end: bytes, cuts: list[int]) -> None:
    stream = b"".join(b"data: " + text.encode() + line_end * 2 for text in texts)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(edges)]

    assert [text.encode() for text in texts] == decode(pieces)


@pytest.mark.parametrize(
    "line",
    [
        *(b"data: " + b"x" * 200, b"data: xxxx\n" * 20, b"error: xxxx\n" * 20),
        b'{"error": "x"}\n' * 20,
    ],
)
def test_an_event_that_is_too_large_is_refused(line: bytes) -> None:
    for pieces in ([line + b"\n"], one_by_one(line), [line[:90], line[90:], b"\n"]):
        with pytest.raises(MlxcelStreamError, match="more than 100 bytes"):
            decode(pieces, SSEDecoder(max_event_bytes=100))


def test_many_events_together_may_be_larger() -> None:
    decoder = SSEDecoder(max_event_bytes=100)

    assert 50 == len(decoder.feed(b"data: 0123456789\n\n" * 50))
    assert [b"x" * 94] == decoder.feed(b"data: " + b"x" * 94 + b"\n\n")


def test_the_usual_limit_is_far_above_an_answer() -> None:
    event = b"x" * (MAX_EVENT_BYTES - 100)

    assert [event] == decode([b"data: ", event, b"\n\n"])


@pytest.mark.parametrize(
    ("whole_bytes", "piece_bytes"),
    [(1_000_000, 1), (8_000_000, 65536)],
    ids=["1 MB in single bytes", "a line of 8 MB in 64 KB"],
)
def test_time_grows_with_the_bytes_and_not_faster(whole_bytes: int, piece_bytes: int) -> None:
    """Four times as much takes about four times as long; sixteen times would be quadratic."""

    def seconds(size: int) -> float:
        decoder = SSEDecoder()
        piece = b"x" * piece_bytes
        start = time.thread_time()
        decoder.feed(b"data: ")
        for _ in range(size // piece_bytes):
            decoder.feed(piece)
        assert 1 == len(decoder.feed(b"\n\n"))
        return time.thread_time() - start

    rounds = [(seconds(whole_bytes // 4), seconds(whole_bytes)) for _ in range(2)]

    assert min(whole for _, whole in rounds) < 10 * min(quarter for quarter, _ in rounds)


@pytest.mark.parametrize(
    ("pieces", "fits"),
    [
        ([b"x" * 100], True),
        ([b"x" * 101], False),
        ([b"x" * 50, b"x" * 50], True),
        ([b"x" * 50, b"x" * 51], False),
        ([b"data: xx\n", b"x" * 100], True),
        ([b"x", b"\n", b"x" * 100], True),
        ([b"data:" + b"x" * 95 + b"\n"], True),
        ([b"data:" + b"x" * 96 + b"\n"], False),
        ([b"data:" + b"x" * 45 + b"\n"] * 2, True),
        ([b"data:" + b"x" * 45 + b"\n", b"data:" + b"x" * 46 + b"\n"], False),
        ([b"data:" + b"x" * 45 + b"\n\n", b"data:" + b"x" * 95 + b"\n"], True),
    ],
)
def test_the_limit_is_the_largest_that_fits(pieces: list[bytes], fits: bool) -> None:
    decoder = SSEDecoder(max_event_bytes=100)
    if fits:
        decode(pieces, decoder)
        return
    with pytest.raises(MlxcelStreamError) as caught:
        decode(pieces, decoder)

    assert (
        "The server sent an event of more than 100 bytes, which is too large for an answer of a "
        "language model. Check that the address is that of an mlxcel server."
    ) == str(caught.value)


def test_a_stream_may_begin_with_an_empty_line() -> None:
    assert [b"a"] == decode([b"\n", b"data: a\n\n"]) == decode([b"\n\ndata: a\n\n"])
