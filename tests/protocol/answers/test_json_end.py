"""End of a JSON object or array that arrives in pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxcel_integrations.protocol.answers.json_end import JSONEnd

LEAVES = st.none() | st.booleans() | st.integers() | st.text('a"\\{}[]\n', max_size=6)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text('a"\\}', max_size=3), inner)
).filter(lambda value: isinstance(value, dict | list))


@given(VALUES, st.sampled_from(["", " ", "\n\n", " {}", '"', "]"]), st.booleans())
def test_the_end_is_where_json_has_it(value: Any, after: str, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    whole, each = JSONEnd(), JSONEnd()

    assert len(text) == whole.feed(text + after)
    assert len(text) == sum(each.feed(character) for character in text + after)
    assert whole.complete
    assert each.complete


@pytest.mark.parametrize("text", ["12", '"a"', "null", "Here is {}", "", " \n", '{"a": "}', "[[]"])
def test_what_has_no_end_is_taken_whole(text: str) -> None:
    end = JSONEnd()

    assert len(text) == sum(end.feed(character) for character in text)
    assert not end.complete


def test_white_space_before_it_belongs_to_it() -> None:
    end = JSONEnd()

    assert [1, 2, 1, 0] == [end.feed(piece) for piece in ("\n", " {", "} ", "x")]
    assert end.complete
