"""The page for contributors shows the code as it is, and help texts agree."""

from __future__ import annotations

from tests import help_texts, tree
from tests.structure import picture
from tests.structure.imports import LAYERS

PAGE = tree.PAGE.read_text()


def test_the_tree_is_that_of_the_package() -> None:
    assert PAGE == tree.with_tree(PAGE), f"The package has changed: run `{tree.COMMAND}`."


def test_help_texts_are_written_once() -> None:
    code = help_texts.CLIENT.read_text()

    assert help_texts.with_arguments(code) == code, f"Run `{help_texts.COMMAND}`."


def test_the_layers_are_those_that_are_checked() -> None:
    assert "\n".join(", ".join(row) for row in LAYERS) in PAGE


def test_the_picture_shows_the_path_that_a_message_takes() -> None:
    expected = picture.current_picture()

    assert expected == picture.PICTURE.read_text(), (
        f"The path of a message has changed: run `{picture.COMMAND}`, and see that the text "
        "below the picture still fits."
    )


def test_the_picture_is_shown() -> None:
    assert f"]({picture.PICTURE.relative_to(tree.PAGE.parent)})" in PAGE
