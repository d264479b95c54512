"""The Korean pages say what their originals say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import korean

each_page = pytest.mark.parametrize("page", korean.PAGES, ids=lambda page: page.name)


def test_home_install_and_the_first_pages_are_translated() -> None:
    assert ["chat.md", "core.md", "index.md", "install.md", "llama-index.md"] == [
        page.name for page in korean.PAGES
    ]


@each_page
def test_the_original_has_not_changed_since(page: Path) -> None:
    original = korean.original(page).name

    assert korean.current_hash(page) == korean.noted_hash(page), (
        f"docs/{original} has changed: see what docs/ko/{page.name} has to say of it, and run "
        f"`{korean.COMMAND}`"
    )


@each_page
def test_examples_are_those_of_the_original(page: Path) -> None:
    assert [] == korean.strangers(page), f"copy these from the original, and run `{korean.COMMAND}`"
