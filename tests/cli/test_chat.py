from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest

from mlxcel_integrations import LLM, MlxcelError
from mlxcel_integrations.cli import main
from mlxcel_integrations.cli.chat import Conversation
from mlxcel_integrations.cli.terminal import Terminal
from tests.cli.test_terminal import Screen
from tests.fakes.server import FakeServer, Reply
from tests.fakes.wire import LLAMA_CPP, progress


class Talk:
    """A conversation with the scripted server, and what it printed."""

    def __init__(self, llm: LLM, server: FakeServer, system: str | None = None) -> None:
        self.server, self.out, self.log = server, StringIO(), StringIO()
        self.conversation = Conversation(llm, Terminal(self.out), Terminal(self.log), system)

    def say(self, line: str) -> str:
        before = len(self.out.getvalue())
        self.conversation.take(line)
        return self.out.getvalue()[before:]

    @property
    def sent(self) -> list[tuple[str, str]]:
        """The messages of the last request."""
        messages = self.server.posts[-1].json["messages"]
        return [(message["role"], message["content"]) for message in messages]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def talk(server: FakeServer) -> Callable[..., Talk]:
    return lambda system=None: Talk(LLM(base_url=server.url), server, system)


def test_a_conversation_goes_on(talk: Callable[..., Talk]) -> None:
    chat = talk("Be brief.")

    assert "echo: One.\n" == chat.say("One.")
    chat.say("Two.")

    expected = [
        ("system", "Be brief."),
        ("user", "One."),
        ("assistant", "echo: One."),
        ("user", "Two."),
    ]
    assert expected == chat.sent


@pytest.mark.parametrize("ending", ["an answer", "an error"])
def test_a_terminal_shows_how_much_of_the_prompt_is_read(server: FakeServer, ending: str) -> None:
    token = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
    last = token if ending == "an answer" else {"error": {"message": "boom"}}
    server.route("/props", Reply.json(LLAMA_CPP))
    server.script(Reply.events([progress(0), progress(800), last]))
    out, log = StringIO(), Screen()
    with LLM(base_url=server.url) as llm:
        conversation = Conversation(llm, Terminal(out), Terminal(log, {}))
        with contextlib.suppress(MlxcelError):
            conversation.take("One.")

    assert "Reading the prompt ... 40 %" in log.getvalue()
    assert log.getvalue().endswith("\r\x1b[K")
    assert "Reading" not in out.getvalue()


def test_a_new_conversation_keeps_the_system_message(talk: Callable[..., Talk]) -> None:
    chat = talk("Be brief.")
    chat.say("One.")
    chat.say("/clear")
    chat.say("Two.")

    assert [("system", "Be brief."), ("user", "Two.")] == chat.sent


def test_commands_answer_without_the_model(talk: Callable[..., Talk]) -> None:
    chat = talk()
    chat.say("/help")
    chat.say("/stats")
    chat.say("/nonsense")
    assert [] == chat.server.posts
    assert "/clear   begin a new conversation" in chat.log.getvalue()
    assert "Speed     no answer yet" in chat.log.getvalue()
    assert "There is no command /nonsense: see /help." in chat.log.getvalue()

    chat.say("One.")
    chat.say("/stats")
    assert "Speed     first word after " in chat.log.getvalue()
    assert "Length    2 messages" in chat.log.getvalue()
    with pytest.raises(EOFError):
        chat.say("/exit")


def test_a_file_goes_into_the_message(
    talk: Callable[..., Talk], tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "my notes.txt").write_text("The lighthouse is 32 metres tall.")
    (tmp_path / "b.csv").write_text("item,price\nbun,3\n")
    line = f'How tall, says @"{tmp_path}/my notes.txt" or @{tmp_path}/b.csv?'
    chat = talk()

    chat.say(line)

    texts = [
        f"{tmp_path}/my notes.txt:\n\nThe lighthouse is 32 metres tall.",
        f"{tmp_path}/b.csv:\n\nitem: bun; price: 3",
        line,
    ]
    assert [("user", "\n\n".join(texts))] == chat.sent


def test_other_words_with_an_at_sign_are_left_alone(talk: Callable[..., Talk]) -> None:
    chat = talk()
    chat.say("Write to @ada or ada@example.org.")

    assert [("user", "Write to @ada or ada@example.org.")] == chat.sent


def test_a_file_that_does_not_exist_is_reported(talk: Callable[..., Talk]) -> None:
    chat = talk()
    chat.say("What is in @missing.pdf?")

    assert "(there is no file missing.pdf: the model sees only its name)" in chat.log.getvalue()


def test_a_folder_is_not_read(talk: Callable[..., Talk], tmp_path: Path) -> None:
    chat = talk()
    chat.say(f"What is in @{tmp_path}?")

    expected = f"({tmp_path} is a folder: the model sees only its name. Pass a file in it)"
    assert expected in chat.log.getvalue()
    assert [("user", f"What is in @{tmp_path}?")] == chat.sent


@pytest.mark.parametrize("name", ["-", "./pipe", "~nobody-has-this-name/x", "~nobody"])
def test_what_is_no_file_is_not_read(
    name: str, talk: Callable[..., Talk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-").write_text("the file of this name, and not standard input, is ./-")
    os.mkfifo("pipe")
    chat = talk()
    chat.say(f"What is in @{name}?")

    assert [("user", f"What is in @{name}?")] == chat.sent


def test_what_was_said_before_an_interrupt_is_kept(talk: Callable[..., Talk]) -> None:
    chat = talk()
    chat.server.script(Reply.text("one two three", cut_after=700))
    with pytest.raises(Exception, match="cut short"):
        chat.say("Count.")
    chat.say("Go on.")

    assert ["user", "assistant", "user"] == [role for role, _ in chat.sent]


@pytest.mark.parametrize("again", [False, True], ids=["the first", "one that had an answer"])
def test_a_message_without_an_answer_is_forgotten(talk: Callable[..., Talk], again: bool) -> None:
    chat, before = talk(), []
    if again:
        chat.say("One.")
        before = [("user", "One."), ("assistant", "echo: One.")]
    chat.server.script(Reply.error(400, "no"))
    with pytest.raises(Exception, match="no"):
        chat.say("One.")
    chat.say("Two.")

    assert [*before, ("user", "Two.")] == chat.sent


def test_what_no_longer_fits_is_forgotten_and_told() -> None:
    with FakeServer(context_size=500) as server, LLM(base_url=server.url) as llm:
        chat = Talk(llm, server, "Be brief.")
        for _ in range(9):
            chat.say("word " * 40)
        kept = [role for role, _ in chat.sent]

    assert ["system", "user", "assistant"] == kept[:3]
    assert len(kept) < 1 + 17
    assert "its first 2 messages are forgotten)" in chat.log.getvalue()


def test_lines_of_standard_input_are_messages(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("One.\n/exit\nTwo.\n"))

    assert 0 == main(["chat", "--base-url", server.url])

    out, err = capsys.readouterr()
    assert "echo: One.\n" == out
    assert "\n> One.\n" in err
