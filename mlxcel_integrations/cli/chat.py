"""Command ``mlxcel-integrations chat``: a conversation with a model in the terminal."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path

from ..client import LLM
from ..embedded import BUILT_IN_MODEL
from ..errors import MlxcelError
from ..protocol.messages import Message
from .ask.answer import NO_FRAMEWORK, require_packages
from .ask.files import STANDARD_INPUT, Corpus, path_of
from .ask.prompt import prompt_style
from .ask.resources import open_store
from .engine import choose_engine, running_engine
from .lines import answer_lines, at_prompt, read_lines
from .reading import reading_line
from .terminal import Terminal

__all__ = ["Conversation", "run_chat"]

_HELP = """\
/help    show this help
/stats   show the speed of the last answer, and the length of the conversation
/clear   begin a new conversation
/exit    leave, as Ctrl-D does; Ctrl-C stops an answer
@FILE    put a text or document into a message: What is in @report.pdf? or @"my report.pdf" """

_FILE = re.compile(r'(?<!\S)@(?:"([^"]+)"|(\S+))')
_LOOKS_LIKE_FILE = re.compile(r"[./\\~]")
_COMMAND = re.compile(r"/\w*")


def run_chat(
    out: Terminal,
    log: Terminal,
    *,
    model: str | None = None,
    base_url: str | None = None,
    system: str | None = None,
    keep: float | None = None,
) -> int:
    """Hold a conversation: on standard output, the answers; on standard error, everything else.

    Args:
        out: Where to print answers.
        log: Where to print everything else.
        model: A model to start a server for.
        base_url: Address of a running server.
        system: A system message.
        keep: Seconds that the server stays for the next command.

    Returns:
        The exit status.

    Raises:
        MlxcelError: The engine is missing, or the server did not start.
        openai.APIError: The server rejected a message, or could not be reached.
    """
    choice = choose_engine(model, base_url)
    with (
        running_engine(log, choice, lambda: None, keep) as endpoint,
        LLM(base_url=str(endpoint)) as llm,
    ):
        conversation = Conversation(llm, out, log, system)
        log.line("Type a message, or /help.")
        log.line()

        def take(line: str) -> None:
            if not at_prompt():
                log.line(f"> {line}")
            conversation.take(line)

        answer_lines(read_lines(log), log, "chat", take)
    return 0


class Conversation:
    """A conversation with a model.

    Args:
        llm: The server.
        out: Where to print answers.
        log: Where to print everything else.
        system: A system message.
    """

    def __init__(self, llm: LLM, out: Terminal, log: Terminal, system: str | None = None) -> None:
        self._llm, self._out, self._log = llm, out, log
        self._beginning: list[Message] = [{"role": "system", "content": system}] if system else []
        self._messages = list(self._beginning)
        self._speed = "no answer yet"
        is_built_in = llm.model == BUILT_IN_MODEL
        self._sampling = prompt_style(llm.model).options if is_built_in else {"reasoning": False}
        self._commands: dict[str, Callable[[], object]] = {
            "/help": lambda: log.line(_HELP.rstrip()),
            "/stats": self._show_stats,
            "/clear": self._clear,
            "/exit": _leave,
            "/quit": _leave,
        }

    def take(self, line: str) -> None:
        """Obey a command, or answer a message.

        Raises:
            EOFError: The user leaves.
            MlxcelError: A file cannot be read.
            openai.APIError: The server rejected the message, or could not be reached.
        """
        if not _COMMAND.fullmatch(line):
            self._answer(line)
        elif command := self._commands.get(line):
            command()
        else:
            self._log.line(f"There is no command {line}: see /help.")

    def _answer(self, line: str) -> None:
        message = {"role": "user", "content": _with_files(line, self._log)}
        self._messages = self._fitting([*self._messages, message])
        begin, first, pieces = time.monotonic(), None, list[str]()
        try:
            for piece in self._llm.chat_stream(
                self._messages, progress=reading_line(self._log), **self._sampling
            ):
                if first is None:
                    first = time.monotonic()
                    self._log.live()
                pieces.append(piece)
                self._out.piece(piece)
        finally:
            if pieces:
                self._out.line()
                self._messages.append({"role": "assistant", "content": "".join(pieces)})
            else:
                self._log.live()
                # An unanswered message must not stay before the next one.
                self._messages.pop()
        if first is not None:
            seconds = time.monotonic() - first
            speed = f", {(len(pieces) - 1) / seconds:.0f} tokens/s" if len(pieces) > 1 else ""
            self._speed = f"first word after {first - begin:.2f} s{speed}"

    def _fitting(self, messages: list[Message]) -> list[Message]:
        try:
            fitting = self._llm.fit_messages(messages)
        except MlxcelError:
            # The server does not report its context, or cannot count.
            return messages
        if len(fitting) < len(messages):
            left_out = len(messages) - len(fitting)
            first = "first message is" if left_out == 1 else f"first {left_out} messages are"
            self._log.line(f"(the conversation is too long for the model: its {first} forgotten)")
        return fitting

    def _show_stats(self) -> None:
        self._log.fact("Model", self._llm.model)
        self._log.fact("Speed", self._speed)
        tokens = ""
        with contextlib.suppress(MlxcelError):
            if self._messages:
                tokens = f", {self._llm.count_message_tokens(self._messages)} tokens"
        self._log.fact("Length", f"{len(self._messages)} messages{tokens}")

    def _clear(self) -> None:
        self._messages = list(self._beginning)
        self._log.line("A new conversation.")


def _leave() -> None:
    raise EOFError


def _with_files(line: str, log: Terminal) -> str:
    """Return a message with the texts of the files that it names as ``@name`` before it."""
    texts = {}
    for quoted, plain in _FILE.findall(line):
        name = quoted or plain.rstrip("?!,;:.")
        if name in texts:
            continue
        if _path_is(name, Path.is_file):
            texts[name] = f"{name}:\n\n{_file_text(name, log)}"
        elif _path_is(name, Path.is_dir):
            log.line(f"({name} is a folder: the model sees only its name. Pass a file in it)")
        elif quoted or _LOOKS_LIKE_FILE.search(name):
            log.line(f"(there is no file {name}: the model sees only its name)")
    return "\n\n".join([*texts.values(), line])


def _path_is(name: str, kind: Callable[[Path], bool]) -> bool:
    try:
        return name != STANDARD_INPUT and kind(path_of(name))
    except (OSError, ValueError):
        return False


def _file_text(name: str, log: Terminal) -> str:
    require_packages(NO_FRAMEWORK)
    corpus = Corpus()
    with open_store(log) as store:
        corpus.read([name], store)
    return "\n".join(passage.text for passage in corpus.passages)
