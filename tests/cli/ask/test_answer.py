from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.cli.ask.answer import (
    FRAMEWORKS,
    NO_FRAMEWORK,
    Framework,
    print_answer,
    require_packages,
)
from mlxcel_integrations.cli.ask.passages import Passage
from mlxcel_integrations.cli.terminal import Terminal
from mlxcel_integrations.embedded import BUILT_IN_MODEL
from tests.cli.test_terminal import Screen
from tests.fakes.server import FakeServer, Reply
from tests.fakes.wire import LLAMA_CPP, progress

PASSAGES = [Passage("notes.md", f"line {number}", f"Text {number}.") for number in range(9)]


def find(question: str, k: int) -> Sequence[Passage]:
    return PASSAGES[:k]


@pytest.mark.parametrize(
    "framework", [*FRAMEWORKS.values(), NO_FRAMEWORK], ids=lambda framework: framework.module
)
def test_sources_answer_and_speed_are_printed(framework: Framework, server: FakeServer) -> None:
    out, log = StringIO(), StringIO()
    server.script(Reply.text("  It is tall. ", delay=0.05))

    answer = print_answer(
        Terminal(out), Terminal(log), framework, server.url, "model", find, "How tall?"
    )

    assert "It is tall." == answer.text
    assert PASSAGES[:4] == answer.sources
    assert answer.output_tokens > 1
    assert answer.first is not None
    assert answer.first <= answer.seconds
    assert out.getvalue().splitlines() == [
        "It is tall. ",
        *[f"Source    notes.md, line {number}" for number in range(4)],
    ]
    assert re.fullmatch(r"Speed +first word after [\d.]+ s, \d+ tokens/s\n", log.getvalue())


@pytest.mark.parametrize(
    "framework", [*FRAMEWORKS.values(), NO_FRAMEWORK], ids=lambda framework: framework.module
)
def test_a_terminal_shows_how_much_of_the_prompt_is_read(
    framework: Framework, server: FakeServer
) -> None:
    out, log = StringIO(), Screen()
    token = {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    server.route("/props", Reply.json(LLAMA_CPP))
    server.script(Reply.events([progress(0), progress(800), token, end]))

    print_answer(
        Terminal(out), Terminal(log, {}), framework, server.url, "model", find, "How tall?"
    )

    before, _, after = log.getvalue().partition("Reading the prompt ... 40 %")
    assert "Reading the prompt ... 0 %" in before
    assert after.startswith("\x1b[0m\r\x1b[K")
    assert "Reading" not in after + out.getvalue()


@pytest.mark.parametrize(
    ("model", "first"), [(BUILT_IN_MODEL, "name: Alan"), ("model", "name: Ada")]
)
def test_the_built_in_model_sees_the_row_asked_for_first(
    model: str, first: str, server: FakeServer
) -> None:
    table = Passage("people.csv", "row 1", "name: Ada\nname: Alan")

    answer = print_answer(
        Terminal(StringIO()),
        Terminal(StringIO()),
        NO_FRAMEWORK,
        server.url,
        model,
        lambda question, k: [table],
        "Who is Alan?",
    )

    assert f"\n\n{first}\n" in server.posts[-1].json["messages"][0]["content"]
    assert [table] == answer.sources


def test_an_answer_without_text_has_no_first_word(server: FakeServer) -> None:
    out, log = StringIO(), StringIO()
    server.script(Reply.text(""))

    answer = print_answer(
        Terminal(out), Terminal(log), NO_FRAMEWORK, server.url, "model", find, "How tall?"
    )

    assert ("", None) == (answer.text, answer.first)
    assert out.getvalue().startswith("(no answer)\nSource")
    assert re.fullmatch(r"Speed +\d+ tokens without text\n", log.getvalue())


def test_missing_packages_are_named_with_the_extras() -> None:
    framework = Framework("chain", "no_such_package", "no-such-extra")

    with pytest.raises(
        MlxcelError, match=r"not installed \(no_such_package\): pip install '"
    ) as caught:
        require_packages(framework)

    assert "[ask,no-such-extra,embedded]" in str(caught.value)
