"""Files of kept prompts: only whole ones are found again, and the oldest make room."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest

from mlxcel_integrations.supervisor.prompt_store import PromptStore


@pytest.fixture
def store(tmp_path: Path) -> PromptStore:
    store = PromptStore(tmp_path / "prompts" / "kind", 10)
    assert store.make()
    return store


def keep(store: PromptStore, content: bytes, at: int, size: int | None = None) -> None:
    """Write a file as a server does, and keep it; of another size than told if that is given."""
    name = store.unfinished(at)
    (store.directory / name).write_bytes(content)
    store.keep(name, len(content) if size is None else size, at)


def contents(store: PromptStore, count: int = 9) -> list[bytes]:
    return [(store.directory / name).read_bytes() for name in store.newest(count)]


def test_the_newest_come_first_and_the_oldest_go(store: PromptStore) -> None:
    for at, content in enumerate((b"one", b"two", b"three", b"four")):
        keep(store, content, at)

    assert [b"four", b"three"] == contents(store)
    assert [b"four"] == contents(store, 1)
    assert 2 == len(list(store.directory.iterdir()))


def test_the_same_prompt_is_kept_once_with_its_last_use(store: PromptStore) -> None:
    for at, content in enumerate((b"one", b"two", b"one")):
        keep(store, content, at)

    assert [b"one", b"two"] == contents(store)


@pytest.mark.parametrize("size", [0, 2, 4])
def test_a_file_of_another_size_than_the_server_wrote_is_not_kept(
    store: PromptStore, size: int
) -> None:
    keep(store, b"one", 1, size)

    assert [] == store.newest(9)


def test_a_file_that_tells_a_wrong_number_of_tokens_takes_no_memory(tmp_path: Path) -> None:
    store = PromptStore(tmp_path / "prompts" / "kind", 1000)
    assert store.make()
    damaged = struct.pack("<4sII", b"qsgg", 2, 2**32 - 1)
    tracemalloc.start()
    try:
        keep(store, damaged, 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert [damaged] == contents(store)
    # A checksum takes a buffer of 256 KiB.
    assert peak < 1024**2


def test_prompts_of_other_kinds_count_but_are_not_restored(store: PromptStore) -> None:
    other = PromptStore(store.directory.parent / "other", 10)
    assert other.make()
    keep(other, b"12345678", 1)
    keep(store, b"one", 2)

    assert ([b"one"], []) == (contents(store), contents(other))


def test_the_name_of_a_file_is_its_checksum(store: PromptStore) -> None:
    keep(store, b"one", 1)
    (name,) = store.newest(9)
    (store.directory / name).write_bytes(b"two")

    assert [] == store.newest(9)
    assert not (store.directory / name).exists()


def test_a_file_that_is_gone_is_no_error(store: PromptStore) -> None:
    store.keep("none", 1, 1)
    store.drop("none")

    assert [] == store.newest(9)


def test_a_file_in_the_place_of_the_directory_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "prompts").write_text("")

    assert not PromptStore(tmp_path / "prompts" / "kind", 10).make()
