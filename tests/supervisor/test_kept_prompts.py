"""Whatever happens to kept prompts, a server starts and ends, and restores only what is intact."""

from __future__ import annotations

import json
import logging
import os
import stat
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from mlxcel_integrations.supervisor.kept_prompts import (
    restore_prompts,
    save_command,
    save_prompts,
)
from mlxcel_integrations.supervisor.prompt_store import PromptStore
from mlxcel_integrations.supervisor.slots import Slots

BYTES_PER_TOKEN = 100


def file_of(tokens: int, state: bytes = b"x") -> bytes:
    """Return a file as llama.cpp begins it."""
    beginning = struct.pack(f"<4sII{tokens}I", b"qsgg", 2, tokens, *range(tokens))
    return beginning.ljust(tokens * BYTES_PER_TOKEN, state)


@dataclass
class SlotServer:
    """A server that saves and restores slots as llama.cpp does.

    Attributes:
        url: Its address.
        directory: Where its files are.
        slots: What each slot holds.
        busy: Slots with an answer under way.
        unused: Slots without an answer since the start, such as those that were only restored.
        asked: Each action, with its slot.
        before: Called before an action; what it returns is the answer.
    """

    url: str
    directory: Path
    slots: list[bytes]
    busy: set[int] = field(default_factory=set)
    unused: set[int] = field(default_factory=set)
    asked: list[tuple[str, int]] = field(default_factory=list)
    before: Callable[[str, Path], object] = lambda action, path: None

    def states(self) -> list[dict[str, object]]:
        return [
            {
                "id": slot,
                "is_processing": slot in self.busy,
                "n_prompt_tokens": len(held) // BYTES_PER_TOKEN,
                **({"id_task": 7} if held and slot not in self.unused else {}),
            }
            for slot, held in enumerate(self.slots)
        ]

    def act(self, action: str, slot: int, name: str) -> object:
        self.asked.append((action, slot))
        path = self.directory / name
        instead = self.before(action, path)
        if instead is not None:
            return instead
        if action == "save":
            path.write_bytes(self.slots[slot])
            return {"n_saved": len(self.slots[slot]), "n_written": len(self.slots[slot])}
        self.slots[slot] = path.read_bytes()
        return {"n_restored": len(self.slots[slot])}


@pytest.fixture
def store(tmp_path: Path) -> PromptStore:
    store = PromptStore(tmp_path / "prompts" / "kind", 1000)
    assert store.make()
    return store


@pytest.fixture
def server(store: PromptStore) -> Iterator[SlotServer]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.answer(slot_server.states())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            target = urlsplit(self.path)
            (action,) = parse_qs(target.query)["action"]
            slot = int(target.path.rpartition("/")[2])
            self.answer(slot_server.act(action, slot, body["filename"]))

        def answer(self, answer: object) -> None:
            if answer == "killed":
                self.connection.close()
                return
            self.send_response(400 if answer == "refused" else 200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        slot_server = SlotServer(
            f"http://127.0.0.1:{http.server_port}", store.directory, [b"one" * 30, b""]
        )
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield slot_server
        finally:
            http.shutdown()
            thread.join()


def slots(server: SlotServer, seconds: float = 10.0) -> Slots:
    return Slots(server.url, None, "", seconds)


def restarted(server: SlotServer, count: int = 2) -> SlotServer:
    server.slots, server.asked = [b""] * count, []
    return server


def kept(store: PromptStore) -> list[Path]:
    return sorted(store.directory.iterdir(), key=lambda path: path.stat().st_mtime_ns)


def test_what_slots_held_is_restored_the_newest_first(
    server: SlotServer, store: PromptStore
) -> None:
    server.slots, server.unused = [b"old", b"new", b""], {0}
    save_prompts(slots(server), store)
    restore_prompts(slots(restarted(server, 3)), store)

    # llama.cpp overwrites the last slot first.
    assert [b"new", b"old", b""] == server.slots
    assert [("restore", 0), ("restore", 1)] == server.asked


def test_only_the_user_can_read_kept_prompts(server: SlotServer, store: PromptStore) -> None:
    save_prompts(slots(server), store)

    (file,) = kept(store)
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert 0o700 == stat.S_IMODE(store.directory.stat().st_mode)
    assert 0o700 == stat.S_IMODE(store.directory.parent.stat().st_mode)


def test_a_busy_slot_is_not_waited_for(server: SlotServer, store: PromptStore) -> None:
    server.slots, server.busy = [b"one", b"two"], {0}
    save_prompts(slots(server), store)

    assert [("save", 1)] == server.asked


def test_slots_that_were_used_are_saved_first(server: SlotServer, store: PromptStore) -> None:
    server.slots = [b"", b"two"]
    save_prompts(slots(server), store)

    assert [("save", 1), ("save", 0)] == server.asked


@pytest.mark.parametrize("unused", [0, 1])
def test_what_was_used_since_the_start_is_newer_than_what_was_only_restored(
    server: SlotServer, store: PromptStore, unused: int
) -> None:
    server.slots, server.unused = [b"old", b"old"], {unused}
    server.slots[1 - unused] = b"new"
    save_prompts(slots(server), store)

    assert [b"old", b"new"] == [path.read_bytes() for path in kept(store)]


@pytest.mark.parametrize("unused", [0, 1])
def test_without_room_for_both_what_was_used_since_the_start_stays(
    server: SlotServer, store: PromptStore, unused: int
) -> None:
    server.slots, server.unused = [b"old", b"old"], {unused}
    server.slots[1 - unused] = b"new"
    save_prompts(slots(server), PromptStore(store.directory, 5))

    assert [b"new"] == [path.read_bytes() for path in kept(store)]


def cut(action: str, path: Path) -> object:
    path.write_bytes(b"on")
    return {"n_saved": 3, "n_written": 3}


def without_room(action: str, path: Path) -> object:
    path.write_bytes(b"o")
    return {"n_saved": 3, "n_written": 0}


def killed(action: str, path: Path) -> object:
    path.write_bytes(b"o")
    return "killed"


def refused(action: str, path: Path) -> object:
    return "refused"


def in_another_form(action: str, path: Path) -> object:
    return ["saved"]


def hanging(action: str, path: Path) -> object:
    time.sleep(0.5)
    return {}


@pytest.mark.parametrize("fault", [cut, without_room, killed, refused, in_another_form, hanging])
def test_a_save_that_fails_leaves_nothing_and_raises_nothing(
    fault: Callable[[str, Path], object], server: SlotServer, store: PromptStore
) -> None:
    server.before = fault
    save_prompts(slots(server, 0.2 if fault is hanging else 10.0), store)

    assert [] == kept(store)


def test_a_server_that_is_gone_is_no_error(server: SlotServer, store: PromptStore) -> None:
    nowhere = Slots("http://engine", str(store.directory / "none.sock"), "", 1.0)
    save_prompts(nowhere, store)
    restore_prompts(nowhere, store)

    assert [] == kept(store)


def damage(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    return path


def shorten(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-1])
    return path


def as_directory(path: Path) -> Path:
    path.unlink()
    path.mkdir()
    return path


def as_pipe(path: Path) -> Path:
    path.unlink()
    os.mkfifo(path)
    return path


def as_link(path: Path) -> Path:
    elsewhere = path.rename(path.parents[2] / path.name)
    path.symlink_to(elsewhere)
    return path


def as_endless_link(path: Path) -> Path:
    path.unlink()
    path.symlink_to("/dev/zero")
    return path


def foreign(path: Path) -> Path:
    return path.rename(path.with_name("notes.txt"))


def pretending(path: Path) -> Path:
    return path.rename(path.with_name("0" * 32 + ".slot"))


def unfinished(path: Path) -> Path:
    return path.rename(path.with_name("12-0.part"))


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "fault",
    [
        *(damage, shorten, as_directory, as_pipe, as_link, as_endless_link),
        *(foreign, pretending, unfinished),
    ],
)
def test_a_file_that_is_not_intact_never_reaches_a_server(
    fault: Callable[[Path], Path], server: SlotServer, store: PromptStore
) -> None:
    server.slots = [b"intact"]
    save_prompts(slots(server), store)
    server.slots = [b"faulty"]
    save_prompts(slots(server), store)
    fault(kept(store)[-1])
    restore_prompts(slots(restarted(server)), store)

    assert [b"intact", b""] == server.slots


def test_a_damaged_file_is_told_and_removed(
    server: SlotServer, store: PromptStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "mlxcel.prompts")
    save_prompts(slots(server), store)
    file = damage(kept(store)[0])
    restore_prompts(slots(restarted(server)), store)

    assert [f"{file} is damaged, and was removed."] == caplog.messages
    assert [] == kept(store)


def test_a_file_that_the_server_refuses_is_removed_and_the_next_restored(
    server: SlotServer, store: PromptStore
) -> None:
    server.slots = [b"one", b"two"]
    save_prompts(slots(server), store)
    server.before = lambda _, path: "refused" if path.read_bytes() == b"two" else None
    restore_prompts(slots(restarted(server)), store)

    assert [b"one", b""] == server.slots
    assert 1 == len(kept(store))


@pytest.mark.parametrize("fault", [killed, hanging, in_another_form])
def test_a_file_that_ends_a_server_does_not_reach_the_next_one(
    fault: Callable[[str, Path], object], server: SlotServer, store: PromptStore
) -> None:
    save_prompts(slots(server), store)
    server.before = fault
    restore_prompts(slots(restarted(server), 0.2 if fault is hanging else 10.0), store)

    assert [("restore", 0)] == server.asked
    assert [] == kept(store)


def test_a_server_that_has_read_a_prompt_keeps_it(server: SlotServer, store: PromptStore) -> None:
    save_prompts(slots(server), store)
    server.asked.clear()
    restore_prompts(slots(server), store)

    assert [] == server.asked


def test_the_oldest_go_when_there_is_no_more_room(server: SlotServer, tmp_path: Path) -> None:
    other = PromptStore(tmp_path / "prompts" / "other", 250)
    other.make()
    for at, place in enumerate((server.directory, other.directory, server.directory)):
        server.directory, server.slots = place, [bytes([at]) * 100]
        save_prompts(slots(server), PromptStore(place, 250))

    left = sorted(path.read_bytes()[0] for path in (tmp_path / "prompts").glob("*/*"))
    assert [1, 2] == left


def test_a_prompt_is_kept_once_although_its_bytes_change_with_each_restart(
    server: SlotServer, store: PromptStore
) -> None:
    for states in (b"ab", b"cd", b"ef"):
        server.slots = [file_of(tokens + 1, bytes([b])) for tokens, b in enumerate(states)]
        save_prompts(slots(server), store)

    assert [file_of(2, b"f"), file_of(1, b"e")] == [path.read_bytes() for path in kept(store)]


def test_a_prompt_that_another_program_has_kept_since_stays(
    server: SlotServer, store: PromptStore
) -> None:
    server.slots = [file_of(1, b"a")]
    save_prompts(slots(server), store)
    (newer,) = kept(store)
    os.utime(newer, (time.time() + 60,) * 2)
    server.slots = [file_of(1, b"b")]
    save_prompts(slots(server), store)

    assert newer in kept(store)


def test_a_prompt_that_is_larger_than_all_room_replaces_no_other(
    server: SlotServer, store: PromptStore
) -> None:
    save_prompts(slots(server), store)
    server.slots = [b"x" * 2000]
    save_prompts(slots(server), store)

    assert [b"one" * 30] == [path.read_bytes() for path in kept(store)]


def test_what_a_killed_server_left_is_removed_after_an_hour(
    server: SlotServer, store: PromptStore
) -> None:
    for name, age in (("1-0.part", 4000), ("2-0.part", 10)):
        path = store.directory / name
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    save_prompts(slots(server), store)

    assert "2-0.part" == kept(store)[0].name
    assert 2 == len(kept(store))


def test_what_a_killed_server_left_is_removed_also_if_nothing_can_be_saved(
    server: SlotServer, store: PromptStore
) -> None:
    left = store.directory / "1-0.part"
    left.write_bytes(b"half")
    os.utime(left, (1, 1))
    server.before = without_room
    save_prompts(slots(server), store)

    assert [] == kept(store)


@pytest.mark.parametrize(
    ("room", "left"),
    [(3, [b"d", b"e", b"f"]), (2, [b"e", b"f"]), (1, [b"f"]), (0, [])],
)
@pytest.mark.parametrize("way", [without_room, refused])
def test_on_a_full_disk_only_as_many_old_prompts_go_as_needed(
    way: Callable[[str, Path], object],
    room: int,
    left: list[bytes],
    server: SlotServer,
    store: PromptStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for held in (b"c", b"d"):
        server.slots, server.unused = [held], set()
        save_prompts(slots(server), store)

    def on_a_full_disk(action: str, path: Path) -> object:
        is_full = len([file for file in kept(store) if file.suffix == ".slot"]) >= room
        return way(action, path) if is_full else None

    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    server.before = on_a_full_disk
    server.slots, server.unused = [b"e", b"f"], {0}
    save_prompts(slots(server), store)

    assert left == [path.read_bytes() for path in kept(store)]


@pytest.mark.parametrize(
    ("free", "new", "left"),
    [(0, 3, [3]), (150, 4, [4]), (0, 4, [1, 2]), (150, 5, [1, 2])],
)
def test_on_a_full_disk_old_prompts_stay_if_the_new_one_does_not_fit_without_them_either(
    free: int,
    new: int,
    left: list[int],
    server: SlotServer,
    store: PromptStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for tokens in (1, 2):
        server.slots = [file_of(tokens)]
        save_prompts(slots(server), store)
    disk = sum(path.stat().st_size for path in kept(store)) + free

    def now_free() -> int:
        return disk - sum(path.stat().st_size for path in kept(store))

    def with_a_limit(action: str, path: Path) -> object:
        return without_room(action, path) if now_free() < new * BYTES_PER_TOKEN else None

    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=now_free()))
    server.before, server.slots = with_a_limit, [file_of(new)]
    save_prompts(slots(server), store)

    assert left == [len(path.read_bytes()) // BYTES_PER_TOKEN for path in kept(store)]


@pytest.mark.parametrize("fault", [cut, without_room, killed, refused, in_another_form, hanging])
def test_what_fails_for_another_reason_takes_no_old_prompt(
    fault: Callable[[str, Path], object], server: SlotServer, store: PromptStore
) -> None:
    save_prompts(slots(server), store)
    server.before, server.slots = fault, [b"two"]
    save_prompts(slots(server, 0.2 if fault is hanging else 10.0), store)

    assert [b"one" * 30] == [path.read_bytes() for path in kept(store)]


def test_two_programs_may_save_at_once(server: SlotServer, store: PromptStore) -> None:
    command = save_command(server.url, None, store, 10.0)
    programs = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]

    assert [b"", b""] == [program.communicate(timeout=30)[1] for program in programs]
    assert [b"one" * 30] == [path.read_bytes() for path in kept(store)]


def test_why_a_prompt_is_not_kept_is_in_the_log_of_the_server(
    server: SlotServer, store: PromptStore
) -> None:
    server.before = without_room
    command = save_command(server.url, None, store, 10.0)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)

    assert "The prompt in slot 0 is not kept: nothing was written\n" in done.stderr
