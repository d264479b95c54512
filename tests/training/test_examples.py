"""The examples of the training."""

from __future__ import annotations

import re

from tests.training.evaluated import is_in_evaluation
from tests.training.examples import SHOWN_CALLS, make_examples
from tests.training.texts import UNKNOWN

EXAMPLES = make_examples(seed=3, texts=150)


def test_the_same_seed_makes_the_same_examples() -> None:
    assert EXAMPLES == make_examples(seed=3, texts=150)


def test_examples_have_nothing_of_the_evaluation() -> None:
    """Neither a question of it, nor a name, nor a number."""
    for example in EXAMPLES:
        questions = [question(prompt) for prompt, _ in example.asked]
        # The prompt of LlamaIndex numbers its rules.
        text = re.sub(r"(?s)^You are an expert.*?-{5,}", "", example.head)
        assert not is_in_evaluation(text.replace(SHOWN_CALLS, ""), questions), example


def question(prompt: str) -> str:
    return re.split("Question: |Query: ", prompt)[-1].removesuffix("\nAnswer:").strip()


def test_no_and_yes_are_about_as_frequent_and_few_answers_are_missing() -> None:
    answers = [answer for example in EXAMPLES for _, answer in example.asked]
    yes, no, unknown = (answers.count(f" {one}") for one in ("Yes.", "No.", UNKNOWN))

    assert 0.7 < yes / no < 1
    assert 0.07 < unknown / len(answers) < 0.13
