"""Texts in English, told from others."""

from __future__ import annotations

import pytest

from mlxcel_integrations.cli.ask.english import are_english, are_foreign
from tests.evaluation.languages import LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_english_is_told_from_other_languages(language: str) -> None:
    assert (language == "English") == are_english([text for text, _ in LANGUAGES[language]])


@pytest.mark.parametrize("texts", [[], ["404 GET /index.html 0x3f"], ["name;price\nnuts;3"]])
def test_no_texts_tables_and_logs_are_not_english(texts: list[str]) -> None:
    assert not are_english(texts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_other_languages_are_told_from_english(language: str) -> None:
    assert (language != "English") == are_foreign([text for text, _ in LANGUAGES[language]])


@pytest.mark.parametrize(
    ("table", "foreign"),
    [
        ("name: Anna 5; city: Berlin; price: 5", False),
        ("title: Red shoes; color: red; place: El Paso", False),
        ("Titel: Rote Schuhe; Farbe: rot; Text: mit den Absätzen", True),
        ("名前: 靴; 色: 赤", True),
    ],
)
def test_a_table_is_english_unless_its_words_are_of_another_language(
    table: str, foreign: bool
) -> None:
    assert foreign == are_foreign([table])


def test_most_texts_decide() -> None:
    english, german = ["The boats are in the harbour."], ["Die Boote liegen im Hafen."]

    assert are_english(english * 900 + german * 100)
    assert not are_english(english * 100 + german * 900)
