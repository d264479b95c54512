"""A fork waits until no other thread imports modules or starts a process."""

from __future__ import annotations

import os
import threading
import time

from mlxcel_integrations.transport.forks import between_forks


def forked(code: int) -> int:
    """Fork a child that ends with a status, and return that status."""
    child = os.fork()
    if not child:
        os._exit(code)
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

    assert 7 == forked(7)
    assert [True] == ended
    thread.join()


def test_whoever_holds_the_lock_may_fork() -> None:
    """A signal handler that forks may run within an import of the main thread."""
    with between_forks:
        assert 7 == forked(7)
