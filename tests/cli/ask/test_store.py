from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from mlxcel_integrations.cli.ask.store import Store
from tests.cli.ask.conftest import Ask, count_vectors


def test_a_damaged_store_is_replaced(ask: Ask, notes: Path, store: Path) -> None:
    store.parent.mkdir(parents=True)
    store.write_bytes(b"junk" * 1000)

    said = ask(notes)

    assert 0 == said.status
    assert f"Cache     {store} was damaged, and has been replaced" in said.err
    assert 2 == count_vectors(store)
    assert 0o600 == store.stat().st_mode & 0o777


def test_nothing_is_kept_in_a_directory_without_write_access(
    ask: Ask, notes: Path, store: Path
) -> None:
    store.parent.parent.write_text("a file where the folder should be")

    said = ask(notes)

    assert 0 == said.status
    assert f"Cache     Nothing is saved for next time: cannot use {store}" in said.err


def test_pages_and_vectors_are_kept_by_content(store: Path) -> None:
    with closing(Store(store)) as first:
        first.keep_pages(b"digest", ["One.", "Two."])
        first.keep_vectors("model", {"text": b"12345678"})

    with closing(Store(store)) as second:
        assert ["One.", "Two."] == second.pages(b"digest")
        assert second.pages(b"another") is None
        assert {"text": b"12345678"} == second.vectors("model", ["text", "another"])
        assert {} == second.vectors("another model", ["text"])


def test_vectors_of_another_size_are_dropped(store: Path) -> None:
    with closing(Store(store)) as kept:
        assert not kept.drop_other_sizes("model", 8)
        kept.keep_vectors("model", {"text": b"12345678"})

        assert not kept.drop_other_sizes("model", 8)
        assert kept.drop_other_sizes("model", 4)
        assert {} == kept.vectors("model", ["text"])


def test_vectors_of_the_built_in_model_are_dropped_and_those_of_others_stay(store: Path) -> None:
    names = ("embedded /cache/model.gguf", "embedded/all-MiniLM-L6-v2 /cache/e.gguf", "owner/e")
    with closing(Store(store)) as kept:
        for name in names:
            kept.keep_vectors(name, {"text": b"12345678"})

        assert kept.drop_legacy()
        assert not kept.drop_legacy()
        assert [{}, {"text"}, {"text"}] == [
            kept.vectors(name, ["text"]).keys() or {} for name in names
        ]


def test_without_the_file_the_rest_of_the_run_is_kept_in_memory(store: Path) -> None:
    with closing(Store(store)) as kept:
        with closing(sqlite3.connect(store)) as other:
            other.execute("DROP TABLE vector")

        kept.keep_vectors("model", {"text": b"12345678"})

        assert {"text": b"12345678"} == kept.vectors("model", ["text"])
        assert kept.pages(b"digest") is None
        assert f"cannot use {store}: no such table: vector" in kept.notice


def test_a_full_file_is_told_in_one_line_and_the_question_is_answered(
    ask: Ask, notes: Path, store: Path
) -> None:
    ask(notes)
    with closing(sqlite3.connect(store)) as full, full:
        full.execute("DELETE FROM vector")
        full.execute(
            "CREATE TRIGGER full BEFORE INSERT ON vector "
            "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )

    said = ask(notes)

    assert 0 == said.status
    notice = f"Cache     Nothing is saved for next time: cannot use {store}: database or disk is"
    assert 1 == said.err.count(notice)
