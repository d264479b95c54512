"""Prompts that survive a restart: saved before a server ends, and restored once it is ready.

A guard runs ``main`` with ``python -I -S`` before an orderly stop of its server. So prompts are
kept no matter what stops it: a program, its exit, or a broker. Only the guard waits for that.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .prompt_store import PromptStore, prompt_logger
from .slots import SlotError, SlotRefused, Slots

__all__ = ["restore_prompts", "save_command", "save_prompts"]

_TIME_STEP_NS = 1000
"""Nanoseconds between the times of two files, so that they have an order."""


def save_command(url: str, path: str | None, store: PromptStore, seconds: float) -> list[str]:
    """Return the command line that saves the slots of a server.

    Its key is taken from the variable ``LLAMA_API_KEY``.

    Args:
        url: Address of the server.
        path: Its socket, None for TCP.
        store: Where it saves them.
        seconds: Longest time that this may take.
    """
    program = f"import sys; sys.path.append(sys.argv[1]); from {__name__} import main; main()"
    root = str(Path(__file__).parents[2])
    given = (root, url, path or "", store.directory, store.max_bytes, seconds)
    return [sys.executable, "-I", "-S", "-c", program, *map(str, given)]


def main() -> None:
    """Save the slots of the server that the arguments describe."""
    # To the log of the server.
    logging.basicConfig(format="%(message)s", level=logging.DEBUG)
    url, path, directory, max_bytes, seconds = sys.argv[2:]
    slots = Slots(url, path or None, os.environ.get("LLAMA_API_KEY", ""), float(seconds))
    save_prompts(slots, PromptStore(Path(directory), int(max_bytes)))


def save_prompts(slots: Slots, store: PromptStore) -> None:
    """Save what the slots of a server hold, except those that are busy."""
    try:
        states = slots.states()
    except SlotError as error:
        prompt_logger.debug("The prompts of the server are not kept: %s", error)
        return
    # Slots that were only restored are saved, too, as older ones: the newest files are then what
    # this server held. If time runs out, the others are kept as they were.
    newest_first = sorted(range(len(states)), key=lambda slot: -_last_task(states[slot]))
    now = time.time_ns()
    store.remove_oldest()
    for age, slot in enumerate(newest_first):
        if not states[slot].get("is_processing"):
            _save(slots, slot, store, _slot_tokens(states[slot]), used_at=now - age * _TIME_STEP_NS)


def _save(slots: Slots, slot: int, store: PromptStore, tokens: int, used_at: int) -> None:
    name = store.unfinished(slot)

    def make_room() -> bool:
        # What was written so far takes room as well.
        store.drop(name)
        return store.make_room(tokens, used_at)

    try:
        if size := _save_making_room(slots, slot, name, make_room):
            store.keep(name, size, used_at)
    except SlotError as error:
        prompt_logger.debug("The prompt in slot %d is not kept: %s", slot, error)
    finally:
        store.drop(name)


def _save_making_room(slots: Slots, slot: int, name: str, make_room: Callable[[], bool]) -> int:
    """Save a slot; if the disk is full, prompts used before this one make room."""
    while True:
        try:
            return slots.save(slot, name)
        except SlotRefused:
            if not make_room():
                raise


def restore_prompts(slots: Slots, store: PromptStore) -> None:
    """Restore the newest prompts, one to each slot of a server that has read none yet."""
    try:
        states = slots.states()
        if any(_last_task(state) >= 0 for state in states):
            return
        # Of slots that it has not used yet, the server overwrites the last one first.
        for slot, name in enumerate(store.newest(len(states))):
            _restore(slots, slot, name, store)
    except SlotError as error:
        prompt_logger.debug("No prompts are restored: %s", error)


def _restore(slots: Slots, slot: int, name: str, store: PromptStore) -> None:
    try:
        tokens = slots.restore(slot, name)
        prompt_logger.debug("A prompt of %d tokens is restored in slot %d.", tokens, slot)
    except SlotError as error:
        prompt_logger.debug("%s cannot be restored, and was removed: %s", name, error)
        # Even if the server has ended or hangs: the next one would do the same.
        store.drop(name)
        if not isinstance(error, SlotRefused):
            raise


def _slot_tokens(state: dict[str, object]) -> int:
    """Return the number of tokens in a slot, 0 if the server does not report it."""
    tokens = state.get("n_prompt_tokens")
    return tokens if isinstance(tokens, int) else 0


def _last_task(state: dict[str, object]) -> int:
    """Return the number of the last task of a slot, which grows; -1 if it has had none."""
    task = state.get("id_task")
    return task if isinstance(task, int) else -1
