from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from mlxcel_integrations.cli.ask.files import file_content
from tests.cli.ask.conftest import QUESTION, Ask, embedded_texts, pdf
from tests.fakes.server import FakeServer

UNREADABLE = {
    "empty.txt": (b" \n", "it is empty"),
    "broken.pdf": (b"%PDF-1.7\n1 0 obj\n<<", "it is not a valid PDF"),
    "none.pdf": (b"plain text", "it is not a valid PDF"),
    "cut.pdf": (pdf("x")[:300], "it is not a valid PDF"),
    "locked.pdf": (pdf("secret", password="p"), "it is protected by a password"),
    "scan.pdf": (pdf(""), "it has images but no text"),
    "photo.txt": (bytes(range(256)) * 9, "it is neither text nor a document"),
    "program": (b"\x7fELF\x02\x01\x01\x00", "it is neither text nor a document"),
    "gone.txt": (None, "No such file or directory"),
    "~nobody-has-this-name": (None, "No such file or directory"),
    "": (None, "it is not a regular file"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_single_bad_file_is_one_message(
    name: str, ask: Ask, tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, reason = UNREADABLE[name]
    if content is not None:
        Path(name).write_bytes(content)

    said = ask(name)

    assert 1 == said.status
    reading, message = said.err.splitlines()
    assert "Reading ..." == reading
    assert message.startswith(f"Cannot read {name or '.'}: {reason}")
    assert [] == server.requests


def test_bad_files_among_good_ones_are_listed(ask: Ask, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, (content, _) in UNREADABLE.items():
        if content is not None:
            (folder / name).write_bytes(content)
    (folder / "deep").mkdir()
    (folder / "deep" / "good.PDF").write_bytes(pdf("First page.", f"{QUESTION} 32 metres."))
    (folder / ".hidden").mkdir()
    (folder / ".hidden/secret.txt").write_text(QUESTION)

    said = ask(folder, "--json")

    assert 0 == said.status
    result = json.loads(said.out)
    assert [(f"{folder}/deep/good.PDF", "page 2"), (f"{folder}/deep/good.PDF", "page 1")] == [
        (source["file"], source["place"]) for source in result["sources"]
    ]
    assert 8 == len(result["left_out"])
    assert 5 == said.err.count(f"Left out  {folder}/")
    assert "Left out  1 more\n" in said.err
    assert "Left out  2 files skipped: 1 .txt, 1 without a suffix\n" in said.err


def test_skipped_files_are_counted_by_their_kinds(ask: Ask, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "notes.txt").write_text(QUESTION)
    for number in range(4):
        (folder / f"{number}.PNG").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    for suffix in ("zip", "exe", "o", "so", "gz", "d\nb"):
        (folder / f"one.{suffix}").write_bytes(bytes(9))

    said = ask(folder)

    kinds = r"4 .png, 1 .d\x0ab, 1 .exe, 1 .gz, 1 .o, 1 .so, 1 other"
    assert f"Left out  10 files skipped: {kinds}\n" in said.err


def test_a_folder_without_texts_is_one_message(ask: Ask, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF")

    said = ask(folder)

    assert 1 == said.status
    assert f"There is no text to read in {folder}. 1 file skipped: 1 .jpg.\n" in said.err


def test_old_encodings_are_read(ask: Ask, tmp_path: Path, server: FakeServer) -> None:
    (tmp_path / "western.txt").write_bytes("Größe: 32 m".encode("cp1252"))
    (tmp_path / "wide.txt").write_bytes("Höhe: 7 m".encode("utf-16"))

    assert 0 == ask(tmp_path).status

    assert {"Größe: 32 m", "Höhe: 7 m"} < set(embedded_texts(server))


def test_only_regular_files_inside_of_a_folder_are_read(ask: Ask, tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    for made in (folder, outside):
        made.mkdir()
    (outside / "key.txt").write_text(f"{QUESTION} 99 metres.")
    (folder / "notes.txt").write_text(f"{QUESTION} 32 metres.")
    (folder / "link.txt").symlink_to("notes.txt")
    (folder / "out.txt").symlink_to(outside / "key.txt")
    (folder / "up.txt").symlink_to("../outside/key.txt")
    (folder / "zero.txt").symlink_to("/dev/zero")
    (folder / "directory").symlink_to(outside)
    os.mkfifo(folder / "pipe.txt")

    said = ask(folder, "--json")

    assert 0 == said.status
    result = json.loads(said.out)
    assert ["notes.txt"] == [Path(one["file"]).name for one in result["sources"]]
    assert "99 metres" not in said.out
    assert ["directory", "out.txt", "pipe.txt", "up.txt", "zero.txt"] == [
        Path(one["file"]).name for one in result["left_out"]
    ]
    assert "5 files skipped: 4 links out of the folder, 1 not regular files\n" in said.err


def test_a_link_or_a_folder_that_is_a_link_is_followed_if_it_is_named(
    ask: Ask, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/notes.txt").write_text(f"{QUESTION} 32 metres.")
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "link.txt").symlink_to("folder/notes.txt")

    for name in ("link", "link.txt"):
        said = ask(tmp_path / name)
        assert 0 == said.status
        assert "Files     1 read, 1 passage\n" in said.err
    said = ask(tmp_path / "link.txt", tmp_path / "link", tmp_path / "folder/notes.txt", "--json")
    assert ["notes.txt"] == [Path(one["file"]).name for one in json.loads(said.out)["sources"]]


def test_a_pipe_that_is_named_is_not_waited_for(ask: Ask, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")

    assert "it is not a regular file" in ask(tmp_path / "pipe.txt").err


def test_escape_codes_in_names_and_texts_are_shown(
    ask: Ask, tmp_path: Path, server: FakeServer
) -> None:
    name = tmp_path / "a\x1b[2J.txt"
    name.write_text(f"{QUESTION} 32 \x1b[31m metres.")

    assert "\x1b" not in ask(name).out + ask(tmp_path / "gone\x1b[2J.txt").err
    assert r"a\x1b[2J.txt" in ask(name).out


def test_a_line_break_in_a_name_makes_no_line(ask: Ask, tmp_path: Path) -> None:
    name = tmp_path / "a\nFiles     9 read.txt"
    name.write_text(f"{QUESTION} 32 metres.")

    said = ask(name)

    assert f"Source    {tmp_path}/a\\x0aFiles     9 read.txt, line 1\n" in said.out
    assert "1 read" in said.err
    assert r"a\x0aFiles     9 read.txtgone" in ask(f"{name}gone").err


def test_a_file_called_as_standard_input_is_a_file(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-").write_text(f"{QUESTION} 32 metres.")

    for name in (".", "./-"):
        assert "Source    ./-, line 1\n" in ask(name).out


def test_a_file_that_became_a_link_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "key.txt").write_text("secret")
    (folder / "notes.txt").symlink_to("../key.txt")

    assert b"secret" == file_content(str(folder / "notes.txt"))
    with pytest.raises(Exception, match="links out of the folder"):
        file_content(str(folder / "notes.txt"), folder)


@pytest.mark.skipif(sys.platform != "linux", reason="a file of the kernel of Linux")
def test_a_file_without_a_size_and_an_end_is_too_large(ask: Ask) -> None:
    assert "/proc/self/pagemap: it is larger than 100 MB" in ask("/proc/self/pagemap").err


def test_a_page_that_looks_like_an_address_is_read_without_a_warning(
    ask: Ask, tmp_path: Path
) -> None:
    (tmp_path / "page.html").write_text("http://localhost/32-metres")

    assert 0 == ask(tmp_path / "page.html").status
