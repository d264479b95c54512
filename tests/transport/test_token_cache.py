"""Which token counts are kept."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from mlxcel_integrations.transport.token_cache import TokenCache
from tests import WARNINGS_ARE_ERRORS

ENTRY = TokenCache.ENTRY


def test_counts_are_kept_by_kind_and_text() -> None:
    cache = TokenCache()
    cache.put("text", "a", 1)
    cache.put("chat", "a", 2)
    cache.put("text", "", 0)

    assert (1, 2, 0, None) == (
        cache.get("text", "a"),
        cache.get("chat", "a"),
        cache.get("text", ""),
        cache.get("chat", ""),
    )


def test_those_that_were_not_used_for_longest_go() -> None:
    cache = TokenCache(3 * (ENTRY + 1))
    for text in "abc":
        cache.put("text", text, 1)
    cache.get("text", "a")
    cache.put("text", "d", 1)

    assert [1, None, 1, 1] == [cache.get("text", text) for text in "abcd"]


def test_the_bound_is_one_of_characters() -> None:
    cache = TokenCache(10_000)
    cache.put("text", "short", 1)
    cache.put("text", "x" * 9_800, 2)
    assert (None, 2) == (cache.get("text", "short"), cache.get("text", "x" * 9_800))

    cache.put("text", "x" * 10_000, 3)
    assert None is cache.get("text", "x" * 10_000)
    assert 2 == cache.get("text", "x" * 9_800)


def test_a_count_that_is_put_again_takes_no_more_place() -> None:
    cache = TokenCache(2 * (ENTRY + 1))
    cache.put("text", "a", 1)
    for _ in range(10):
        cache.put("text", "b", 1)

    assert 1 == cache.get("text", "a")


def test_threads_share_it() -> None:
    cache = TokenCache(50 * ENTRY)

    def use(seed: int) -> bool:
        numbers = random.Random(seed)
        for _ in range(2000):
            number = numbers.randrange(200)
            if cache.get("text", str(number)) not in (None, number):
                return False
            cache.put("text", str(number), number)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(8)))
    kept = [number for number in range(200) if cache.get("text", str(number)) == number]
    assert 40 <= len(kept) <= 50


FORK = """
import os
from mlxcel_integrations.transport import token_cache

cache = token_cache.TokenCache()
cache.put("text", "a", 1)
with token_cache._lock:
    child = os.fork()
    if child == 0:
        os._exit(cache.get("text", "a"))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
"""


def test_a_forked_child_does_not_wait_for_a_thread_of_its_parent() -> None:
    subprocess.run([sys.executable, *WARNINGS_ARE_ERRORS, "-c", FORK], check=True, timeout=20)
