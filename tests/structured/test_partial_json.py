"""JSON is known as far as it has come, whatever the pieces, in time linear in its length."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxcel_integrations.structured.partial_json import MISSING, IncrementalJSON

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
documents = st.lists(values, max_size=5) | st.dictionaries(st.text(), values, max_size=5)


def growth(pieces: list[str]) -> list[Any]:
    """Return each value that is new."""
    parser = IncrementalJSON()
    return [parser.value for piece in pieces if parser.feed(piece)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", MISSING),
        ("  \n", MISSING),
        ("{", {}),
        ("[", []),
        ('{"a', {}),
        ('{"a"', {}),
        ('{"a" :', {}),
        ('{"a": "', {"a": ""}),
        ('{"a": "b', {"a": "b"}),
        ('{"a": "b\\', {"a": "b"}),
        ('{"a": "b\\n', {"a": "b\n"}),
        ('{"a": "b\\u00e', {"a": "b"}),
        ('{"a": "b\\u00e9', {"a": "bé"}),
        ('{"a": "\\ud83c', {"a": ""}),
        ('{"a": "\\ud83c\\udf8', {"a": ""}),
        ('{"a": "\\ud83c\\udf89', {"a": "🎉"}),
        ('{"a": 12', {}),
        ('{"a": 12,', {"a": 12}),
        ('{"a": tru', {}),
        ('{"a": true}', {"a": True}),
        ('{"a": -1.5e3 ', {"a": -1500.0}),
        ('{"a": [1, 2', {"a": [1]}),
        ('{"a": [{"b": null}, {"c": "d', {"a": [{"b": None}, {"c": "d"}]}),
        ('"abc', "abc"),
    ],
)
def test_what_is_known_of_json_that_is_cut(text: str, expected: Any) -> None:
    parser = IncrementalJSON()
    parser.feed(text)

    assert expected == parser.value
    assert parser.done is text.endswith("}")


@given(documents, st.data())
def test_the_pieces_make_no_difference(document: Any, data: st.DataObject) -> None:
    text = json.dumps(document, ensure_ascii=data.draw(st.booleans()))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)) | {0, len(text)})
    parser = IncrementalJSON()
    for start, end in itertools.pairwise(cuts):
        parser.feed(text[start:end])

    assert parser.done
    assert json.loads(text) == parser.value


@given(documents)
def test_each_value_extends_the_one_before(document: Any) -> None:
    seen = growth(list(json.dumps(document)))

    assert document == seen[-1]
    assert all(extends(after, before) for before, after in itertools.pairwise(seen))


def extends(after: Any, before: Any) -> bool:
    if isinstance(before, dict):
        return before.keys() <= after.keys() and all(
            extends(after[key], value) for key, value in before.items()
        )
    if isinstance(before, list):
        return len(before) <= len(after) and all(map(extends, after, before))
    return bool(after.startswith(before) if isinstance(before, str) else after == before)


def test_only_what_adds_to_the_value_is_new() -> None:
    pieces = ["{", '"a"', ":", " ", '"', "b", '"', ",", '"c"', ": 1", "2", "}"]

    assert [{}, {"a": ""}, {"a": "b"}, {"a": "b", "c": 12}] == growth(pieces)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["a\\nb"]', [[], [""], ["a"], ["a\n"], ["a\nb"]]),
        ('["\\u00e9\\""]', [[], [""], ["é"], ['é"']]),
        ('["\\ud83c\\udf89!"]', [[], [""], ["🎉"], ["🎉!"]]),
        (
            '{"\\n": 12, "b\\n": "c"}',
            [{}, {"\n": 12}, {"\n": 12, "b\n": ""}, {"\n": 12, "b\n": "c"}],
        ),
    ],
)
def test_each_character_may_come_alone(text: str, expected: list[Any]) -> None:
    assert expected == growth(list(text))


def test_a_piece_may_end_within_an_escape() -> None:
    assert [["a"], ["a\n"], ["a\nb"], ["a\nbé"]] == growth(['["a\\', "n", "b\\u00", 'e9"]'])


def test_values_are_not_changed_later() -> None:
    seen = growth(["[[1,", "2,", '"a', "b", '"]', ", {}", "]"])

    assert [[[1]], [[1, 2]], [[1, 2, "a"]], [[1, 2, "ab"]], [[1, 2, "ab"], {}]] == seen


@pytest.mark.parametrize(
    "text",
    [
        *("x ", "}", "]", ",", ":", "{1", '{"a" 1', '{"a":}', '{"a":1 "b"', "{,", "[,", "[1,]"),
        *("[1}", '{"a":1]', '{"a":1,}', "{}{", "[] 1 ", "[tru]", "[1.2.3]", "[01]", '["\\x"'),
        *("[X]", "[1 X", "{X}", '{"a":1 X'),
    ],
)
def test_what_is_no_json_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="not JSON at character"):
        IncrementalJSON().feed(text)


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        (['{"a": [1, ', "2,} b"], "not JSON at character 12: '} b'"),
        (["[1", ", 2", ", 3", "} b"], "not JSON at character 8: '} b'"),
        (["[tru] b"], "not JSON at character 1: 'tru] b'"),
        (["[1, t", "ru", "] b"], "not JSON at character 4: 'tru] b'"),
        (["[}" + "x" * 30], f"not JSON at character 1: '}}{'x' * 19}'"),
    ],
    ids=repr,
)
def test_the_error_names_the_place(pieces: list[str], message: str) -> None:
    parser = IncrementalJSON()

    with pytest.raises(ValueError, match="not JSON") as caught:
        [parser.feed(piece) for piece in pieces]
    assert message == str(caught.value)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_json_may_be_deep_but_not_bottomless(opening: str, closing: str) -> None:
    parser = IncrementalJSON()
    parser.feed(opening * 100 + ("0" if closing == "}" else "") + closing * 100)

    assert parser.done
    with pytest.raises(ValueError, match="nested deeper than 100 levels"):
        IncrementalJSON().feed(opening * 100_000)


RECORD = {"id": 12345, "name": "x" * 40, "tags": ["a", "b"], "score": 1.5}
LONG = {
    "records": {"records": [RECORD] * 1000},
    "text": {"text": 'ab\n"é' * 10_000},
    "numbers": list(range(15_000)),
}


@pytest.mark.parametrize("document", LONG.values(), ids=LONG)
def test_100_kilobytes_in_10_000_pieces_take_under_a_second(document: Any) -> None:
    text = json.dumps(document)
    size = len(text) // 10_000
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    parser = IncrementalJSON()

    # The time of this thread alone: tests share the machine with others.
    started = time.thread_time()
    for piece in pieces:
        if parser.feed(piece):
            _ = parser.value
    took = time.thread_time() - started

    assert len(pieces) >= 10_000
    assert document == parser.value
    assert took < 1
