"""Functions for worker processes; `spawn` and `forkserver` find them by their names."""

from __future__ import annotations

from multiprocessing.queues import SimpleQueue

from mlxcel_integrations.langchain import ChatMlxcel


def ask(chat: ChatMlxcel, text: str) -> str:
    return chat.invoke(text).text


def answer(chat: ChatMlxcel, text: str, answers: SimpleQueue[str]) -> None:
    """Put the answer into a queue; a process that fails must not leave its parent waiting."""
    try:
        answers.put(ask(chat, text))
    except BaseException as error:
        answers.put(repr(error))
        raise
