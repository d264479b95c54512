"""The reference lists what the classes have."""

from __future__ import annotations

import importlib.util

import pytest

from tests import reference

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="the extra [ray] is not installed"
)


@pytest.mark.parametrize(
    ("room", "name"),
    [
        pytest.param(room, name, marks=needs_ray if room == "ray" else ())
        for room, names in reference.CLASSES.items()
        for name in names
    ],
)
def test_the_page_of_a_class_lists_its_methods_and_fields(room: str, name: str) -> None:
    page = reference.FOLDER / room / f"{name}.md"

    assert reference.page(room, name) == page.read_text(), f"run `{reference.COMMAND}`"
    assert f"(reference/{room}/{name}.md)" in reference.PAGE.read_text()


def test_the_reference_lists_every_option_with_its_help_text() -> None:
    page = reference.PAGE.read_text()

    assert reference.with_tables(page) == page, f"run `{reference.COMMAND}`"


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (str | None, "`str`"),
        (bool | str, r"`bool \| str`"),
        (dict[str, int] | None, "`dict[str, int]`"),
    ],
)
def test_a_type_is_shown_without_none_and_modules(annotation: object, text: str) -> None:
    assert text == reference.type_of(annotation)
