"""A fork waits for imports and starts of other threads; its child finds locks free."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from mlxcel_integrations.forks import between_forks, fork_safe_lock


def forked(run: Callable[[], int]) -> int:
    """Fork a child that ends with the status that a function returns, and return that status."""
    child = os.fork()
    if not child:
        os._exit(run())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_fork_waits_for_the_thread_that_holds_the_lock() -> None:
    held, ended = threading.Event(), []

    def work() -> None:
        with between_forks:
            held.set()
            time.sleep(0.1)
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    assert held.wait(10)

    assert 7 == forked(lambda: 7)
    assert [True] == ended
    thread.join()


def test_whoever_holds_the_lock_may_fork() -> None:
    """A signal handler that forks may run within an import of the main thread."""
    with between_forks:
        assert 7 == forked(lambda: 7)


def test_a_lock_that_another_thread_holds_is_free_in_a_child() -> None:
    lock, held, done = fork_safe_lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    try:
        assert 7 == forked(lambda: 7 if lock.acquire(timeout=5) else 0)
        assert not lock.acquire(blocking=False)
    finally:
        done.set()
        thread.join()
