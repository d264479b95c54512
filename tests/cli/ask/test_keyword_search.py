from __future__ import annotations

import pytest

from mlxcel_integrations.cli.ask.keyword_search import KeywordIndex, fuse_rankings


def test_the_rarest_words_and_their_forms_come_first() -> None:
    texts = ["The server starts.", "The server stops with SIGTERM.", "The server runs."]

    assert [1] == [*KeywordIndex(texts).rank("Which signal is stopping the server?", 1)]


def test_a_question_may_be_any_text() -> None:
    keywords = KeywordIndex(['One "two" AND three.', "four"])

    assert [0] == [*keywords.rank('two" OR NOT (three* : ^', 2)]
    assert [] == [*keywords.rank("zebra", 2)]
    assert [] == [*keywords.rank("?", 2)]
    assert [] == [*KeywordIndex(["!", "?"]).rank("words", 2)]


def test_words_need_no_spaces() -> None:
    assert [1] == [*KeywordIndex(["猫はよく眠る。", "灯台の高さは三十二米。"]).rank("灯台?", 2)]


def test_korean_words_are_found_whatever_their_endings() -> None:
    texts = ["고양이는 잠을 많이 잔다.", "등대는 1885년에 지어졌다."]

    assert [1] == [*KeywordIndex(texts).rank("등대를 언제 지었나요?", 1)]


@pytest.mark.parametrize(
    ("by_words", "by_meaning", "best"),
    [
        ({1: 4.0, 2: 3.0}, {3: 0.6, 2: 0.5, 4: 0.1}, [2, 1, 3, 4]),
        ({1: 9.0, 2: 3.0}, {2: 0.5, 3: 0.45, 1: 0.4}, [1, 2, 3]),
        ({5: 2.0}, {6: 0.2, 5: -0.2}, [5, 6]),
        ({}, {5: -0.1, 6: -0.2}, [5, 6]),
        ({5: 2.0}, {}, [5]),
        ({}, {5: 0.0}, [5]),
        ({}, {}, []),
    ],
    ids=[
        "in both",
        "every rare word",
        "opposite",
        "all opposite",
        "no vectors",
        "no similarity",
        "nothing",
    ],
)
def test_rankings_are_joined_by_their_scores(
    by_words: dict[int, float], by_meaning: dict[int, float], best: list[int]
) -> None:
    assert best == fuse_rankings(by_words, by_meaning)


def test_a_word_is_found_where_it_begins_and_in_all_its_forms() -> None:
    texts = ["He is this.", "An island.", "Happily he is_free.", "He was happy.", "HAPPINESS"]
    keywords = KeywordIndex(texts)

    assert [0, 2] == sorted(keywords.rank("is", 5))
    assert [3, 4] == sorted(keywords.rank("happy", 5))
    assert [2] == [*keywords.rank("happily", 5)]


def test_a_frequent_word_counts_only_if_no_other_is_found() -> None:
    keywords = KeywordIndex(["a " * 9, "a " * 9, "a zebra"])

    assert [2] == [*keywords.rank("a zebra", 3)]
    assert [0, 1, 2] == [*keywords.rank("a lion", 3)]


def test_no_texts_have_no_words() -> None:
    assert [] == [*KeywordIndex([]).rank("zebra", 2)]
