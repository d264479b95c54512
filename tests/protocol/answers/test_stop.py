"""Stop texts: an answer ends before the first of them, however it arrives."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxcel_integrations.protocol.answers.stop import StopFilter

KNOWN = "".join(map(chr, range(40, 0x3E7)))
FAMILY = "👨\u200d👩\u200d👧"


def cut(pieces: Sequence[str], stops: Sequence[str]) -> tuple[str, bool]:
    """Return the text that passes, and whether it was stopped."""
    stop = StopFilter(stops)
    text = ""
    for piece in pieces:
        text += stop.feed(piece)
        if stop.stopped:
            return text, True
    return text + stop.close(), False


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("one two three", ["two"], ("one ", True)),
        ("one two three", ["three", "two"], ("one ", True)),
        ("one two three", ["four"], ("one two three", False)),
        ("one two three", ["one two three"], ("", True)),
        ("one two three", ["one two three four"], ("one two three", False)),
        ("one two three", [], ("one two three", False)),
        ("one two three", [""], ("one two three", False)),
        ("one two three", ["", " "], ("one", True)),
        ("aaab", ["aab"], ("a", True)),
        ("aba", ["b", "aba"], ("a", True)),
        ("xaba", ["ba", "aba"], ("x", True)),
        ("ababac", ["abac"], ("ab", True)),
        ("\nObservation: x", ["\nObservation:"], ("", True)),
        ("\nObserved", ["\nObservation:"], ("\nObserved", False)),
        ("(a|b)* .+", [".+"], ("(a|b)* ", True)),
        (f"a {FAMILY} b", ["👩"], ("a 👨\u200d", True)),
        (f"a {FAMILY} b", [FAMILY], ("a ", True)),
        ("x" * 50 + "stop7", [f"stop{n}" for n in range(100)], ("x" * 50, True)),
        ("a stop tree", [" stop there", " stop tree", " star"], ("a", True)),
        ("a stop tree", [" stop there", " stop trees", " star"], ("a stop tree", False)),
        ("a stop tree", [" stop", " stop tree"], ("a", True)),
        (" sto stop there", [" stop there"], (" sto", True)),
        ("aaaaaaaaab", ["aaaaaaaab"], ("a", True)),
        ("x" + "a" * 1500 + "b", [f"{'a' * n}b" for n in range(1500)], ("xa", True)),
        ("".join(map(chr, range(40, 1000))), ["(\u03e7)", "\u03e7"], (KNOWN, True)),
        ("abcdefXabcdefghijklmnop", ["abcdefghijklmnop"], ("abcdefX", True)),
        ("aaaaaaaabcdefghijk", ["aaaaaaabcdefghijk"], ("a", True)),
        ("", ["x"], ("", False)),
    ],
)
def test_a_text_ends_before_its_first_stop_text(
    text: str, stops: list[str], expected: tuple[str, bool]
) -> None:
    assert expected == cut([text], stops)
    assert expected == cut(list(text), stops)


@given(st.text("ab", max_size=30), st.lists(st.text("ab", max_size=9), max_size=4), st.data())
def test_how_a_text_is_cut_into_pieces_changes_nothing(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=5)))
    pieces = [text[i:j] for i, j in zip([0, *places], [*places, len(text)], strict=True)]
    found = [
        (text.index(stop) + len(stop), text.index(stop)) for stop in stops if stop in text and stop
    ]

    assert (text[: min(found)[1]] if found else text, bool(found)) == cut(pieces, stops)


def test_only_what_may_begin_a_stop_text_is_held_back() -> None:
    stop = StopFilter(["\nObservation:", "END"])

    pieces = ["a\n", "b", "\nObs", "erver", "EN", "DING"]

    assert ["a", "\nb", "", "\nObserver", "", ""] == [stop.feed(piece) for piece in pieces]
    assert ("", True) == (stop.held, stop.stopped)


def test_what_is_held_back_is_known() -> None:
    stop = StopFilter(["END"])

    assert ("a ", "EN") == (stop.feed("a EN"), stop.held)
    assert ("EN", "") == (stop.close(), stop.held)
