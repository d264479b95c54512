"""The built-in model answers simple questions, in the prompts of both frameworks."""

from __future__ import annotations

import pytest

from mlxcel_integrations import LLM
from tests.evaluation import decisions
from tests.evaluation.run import DATA, evaluate, is_clean, is_right, table

LEAST_RIGHT = 0.8
"""Far above chance, and below what was measured: other processors round in other ways."""


@pytest.mark.engine
def test_most_answers_are_right_and_all_are_clean() -> None:
    marks = evaluate(every=6)

    assert len(DATA["questions"]) == len(marks)
    assert [] == [mark for mark in marks if not mark.clean]
    assert sum(mark.right for mark in marks) >= LEAST_RIGHT * len(marks), table(marks)


@pytest.mark.engine
def test_embeddings_of_examples_find_the_right_label() -> None:
    with LLM(model="embedded") as llm:
        found = decisions.right(lambda text: llm.classify(text, decisions.EXAMPLES))

    assert found >= decisions.REACHED


@pytest.mark.parametrize(
    ("answer", "expected", "right"),
    [
        ("32 metres.", ["32"], True),
        ("It is 320 metres tall.", ["32"], False),
        ("20:29", ["29"], False),
        ("Bread, rolls and cinnamon buns.", ["bread&rolls&bun"], True),
        ("Bread and rolls.", ["bread&rolls&bun"], False),
        ("There are 40.", ["forty", "40"], True),
        ("Yes.", ["no"], False),
        ("No, it is not.", ["no"], True),
        ("Yes, to the north.", ["no"], False),
        ("A4 and A5.", ["A4&A5&!A6"], True),
        ("A4, A5, A6, A7.", ["A4&A5&!A6"], False),
        ("I do not know.", ["not"], True),
        ("", ["red"], False),
    ],
)
def test_an_answer_is_right_if_it_has_the_expected_words(
    answer: str, expected: list[str], right: bool
) -> None:
    assert right == is_right(answer, expected)


@pytest.mark.parametrize(
    ("answer", "clean"),
    [
        ("32 metres.", True),
        ("One.\nTwo.", True),
        ("", False),
        (" 32 metres.", False),
        ("32 metres.\nAnswer: 32 metres.", False),
        ("32 metres.\n\nThe harbour", False),
        ("One.\nOne.", False),
        ("17\n# Question 2", False),
        ("Empty Response", False),
        ("---------------------\nThe lighthouse", False),
    ],
)
def test_a_clean_answer_is_one_paragraph_without_other_turns(answer: str, clean: bool) -> None:
    assert clean == is_clean(answer)
