from __future__ import annotations

from mlxcel_integrations.cli.ask.keyword_search import KeywordIndex, fuse_rankings


def test_the_rarest_words_and_their_forms_come_first() -> None:
    texts = ["The server starts.", "The server stops with SIGTERM.", "The server runs."]

    assert 1 == KeywordIndex(texts).rank("Which signal is stopping the server?", 2)[0]


def test_a_question_may_be_any_text() -> None:
    keywords = KeywordIndex(['One "two" AND three.', "four"])

    assert [0] == keywords.rank('two" OR NOT (three* : ^', 2)
    assert [] == keywords.rank("zebra", 2)
    assert [] == keywords.rank("?", 2)
    assert [] == KeywordIndex(["!", "?"]).rank("words", 2)


def test_words_need_no_spaces() -> None:
    assert [1] == KeywordIndex(["猫はよく眠る。", "灯台の高さは三十二米。"]).rank("灯台?", 2)


def test_a_text_in_both_rankings_comes_first() -> None:
    assert [2, 1, 3, 4] == fuse_rankings([1, 2], [3, 2, 4])
    assert [5, 6] == fuse_rankings([], [5, 6])


def test_a_rough_ranking_by_meaning_leaves_the_best_by_words_in_front() -> None:
    assert [1, 2, 3, 4] == fuse_rankings([1, 2, 3, 4], [4, 2, 1, 3], rough=True)
