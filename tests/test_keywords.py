"""Keyword arguments of the clients are the fields of the options, and are checked as such."""

from __future__ import annotations

from typing import get_type_hints

import pytest

from mlxcel_integrations import keywords
from mlxcel_integrations.options import names
from tests import help_texts

CODE = help_texts.KEYWORDS.read_text()


def test_the_keywords_are_the_options() -> None:
    assert CODE == help_texts.with_keywords(CODE), f"Run `{help_texts.COMMAND}`."


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("    max_retries: int\n", "    max_retries: str\n"),
        ("    keep_alive: float\n", "    keep_alive: str\n"),
        ("    seed: int | None\n", "    seed: str | None\n"),
        ("    top_p: float | None\n", ""),
        ("    restart: int\n", "    restart: int\n    restarts: int\n"),
    ],
    ids=["connection", "server", "sampling", "missing", "unknown"],
)
def test_a_keyword_that_is_not_its_field_is_written_anew(right: str, wrong: str) -> None:
    changed = CODE.replace(right, wrong)

    assert changed != CODE
    assert CODE == help_texts.with_keywords(changed)


def test_every_field_of_a_request_is_known_not_to_be_a_misspelling() -> None:
    named = get_type_hints(keywords.ChatKeywords) | get_type_hints(keywords.CompletionKeywords)

    for name in named:
        names.check_field_name(name)
    assert [] == [name for name in named if names.nearest_sampling_field(name) is not None]
