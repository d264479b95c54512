"""Sockets are made where they fit, and where nobody else can put another one in their place."""

from __future__ import annotations

import grp
import os
import pwd
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.supervisor.socket_directory import open_to_others, runtime_directory
from mlxcel_integrations.unix_sockets import MAX_SOCKET_PATH_BYTES

NOBODY = 65534
root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")


def chosen(*directories: Path | str, below: str = "x.sock") -> Path:
    names = ("XDG_RUNTIME_DIR", "TMPDIR")
    return runtime_directory(below, dict(zip(names, map(str, directories), strict=False)))


def made(path: Path, mode: int = 0o700, owner: int | None = None, group: int = -1) -> Path:
    path.mkdir(exist_ok=True)
    os.chown(path, -1 if owner is None else owner, group)
    path.chmod(mode)
    return path


# --------------------------------------------------------------------------- which is taken


def test_the_first_directory_that_is_writable_and_short_enough_is_taken(short: Path) -> None:
    other = made(short / "other")
    deep = made(short / ("d" * MAX_SOCKET_PATH_BYTES))

    assert short == chosen(short, other)
    assert other == chosen(short / "missing", other)
    assert other == chosen(deep, other)
    assert Path("/tmp") == chosen(deep, short / "missing")
    assert Path("/tmp") == chosen()


def test_a_path_that_fits_nowhere_is_an_error() -> None:
    with pytest.raises(
        MlxcelError, match=r"every writable temporary directory is too long.*set TMPDIR"
    ):
        chosen(below="x" * MAX_SOCKET_PATH_BYTES)


def test_a_directory_whose_name_no_server_can_read_is_left_out(short: Path) -> None:
    other = made(short / "ü")

    assert other == chosen(made(short / os.fsdecode(b"\xe4")), other)


def test_a_relative_directory_is_left_out_when_the_working_directory_is_gone(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = made(short / "gone")
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert Path("/tmp") == chosen()
    assert short == chosen("relative", short)


def test_a_directory_that_others_can_change_is_left_out(short: Path) -> None:
    inside = made(made(short / "open", 0o777) / "private")
    other = made(short / "other")

    assert other == chosen(inside, other)
    assert Path("/tmp") == chosen(inside)


def test_an_open_directory_for_temporary_files_is_left_out(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a pod of Kubernetes, where the others may be read-only."""
    shared_memory = made(short / "shm", 0o1777)
    usual = (str(made(short / "tmp", 0o777)), str(short / "missing"), str(shared_memory))
    monkeypatch.setattr(
        "mlxcel_integrations.supervisor.socket_directory._TEMPORARY_DIRECTORIES", usual
    )

    assert shared_memory == chosen()


def test_it_is_an_error_if_others_can_change_all_of_them(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(short / "open", 0o777)
    module = "mlxcel_integrations.supervisor.socket_directory"
    monkeypatch.setattr(f"{module}._TEMPORARY_DIRECTORIES", (str(short / "open"),))

    with pytest.raises(
        MlxcelError, match=rf"No temporary directory is safe.*in {short}/open\. Set"
    ):
        chosen()


# --------------------------------------------------------------------------- who may rename


def sticky(base: Path) -> Path:
    return made(made(base / "sticky", 0o1777) / "mine")


def linked(base: Path) -> Path:
    (base / "link").symlink_to(made(base / "private"))
    return base / "link"


def up_and_down(base: Path) -> Path:
    made(base / "a")
    return made(base / "b").parent / "a" / ".." / "b"


def root_group(base: Path) -> Path:
    return made(base / "root's", 0o775, group=0)


def own_group(base: Path) -> Path:
    user = pwd.getpwuid(os.getuid())
    if grp.getgrgid(user.pw_gid).gr_name != user.pw_name:
        pytest.skip("this user has no group alone")
    return made(base / "own", 0o775, group=user.pw_gid)


@pytest.mark.parametrize(
    "layout",
    [
        lambda base: base,
        sticky,
        linked,
        up_and_down,
        pytest.param(root_group, marks=root),
        own_group,
        lambda base: made(base / "readable", 0o755),
    ],
)
def test_a_directory_in_which_only_this_user_and_root_may_rename_is_safe(
    layout: Callable[[Path], Path], short: Path
) -> None:
    assert open_to_others(layout(short)) is None


def open_above(base: Path) -> tuple[Path, Path]:
    opening = made(base / "open", 0o777)
    return made(made(opening / "a") / "b"), opening


def open_itself(base: Path) -> tuple[Path, Path]:
    return made(base / "open", 0o777), base / "open"


def open_to_a_group(base: Path) -> tuple[Path, Path]:
    return made(base / "team", 0o770, group=NOBODY), base / "team"


def open_by_an_access_list(base: Path) -> tuple[Path, Path]:
    """The mode tells of a group that is private; the list names a user, and is not seen in it."""
    everything, nothing, nobody = 7, 0, 0xFFFFFFFF
    owner, user, group, mask, other = 1, 2, 4, 16, 32
    entries = [
        (owner, everything, nobody),
        (user, everything, NOBODY),
        (group, nothing, nobody),
        (mask, everything, nobody),
        (other, nothing, nobody),
    ]
    listed = made(base / "listed", 0o770, group=os.getgid())
    version = struct.pack("<I", 2)
    access_list = version + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(listed, "system.posix_acl_access", access_list)
    except (AttributeError, OSError):
        pytest.skip("no access control lists here")
    return made(listed / "mine"), listed


def of_a_stranger(base: Path) -> tuple[Path, Path]:
    return made(base / "theirs", 0o777, owner=NOBODY), base / "theirs"


def sticky_of_a_stranger(base: Path) -> tuple[Path, Path]:
    """The owner of a sticky directory may rename everything in it."""
    theirs = made(base / "theirs", 0o1777, owner=NOBODY)
    return made(theirs / "mine"), theirs


def a_strangers_in_a_sticky_one(base: Path) -> tuple[Path, Path]:
    parent = made(base / "sticky", 0o1777)
    return made(parent / "theirs", 0o777, owner=NOBODY), parent


def link_into_an_open_one(base: Path) -> tuple[Path, Path]:
    inside, opening = open_above(base)
    (base / "link").symlink_to(inside)
    return base / "link", opening


def link_in_an_open_one(base: Path) -> tuple[Path, Path]:
    opening = made(base / "open", 0o777)
    (opening / "link").symlink_to(made(base / "private"))
    return opening / "link", opening


def link_through_an_open_one(base: Path) -> tuple[Path, Path]:
    """Neither the first link nor the last target lies in it."""
    inner, opening = link_in_an_open_one(base)
    (base / "outer").symlink_to(Path("open") / inner.name)
    return base / "outer", opening


def a_strangers_link(base: Path) -> tuple[Path, Path]:
    parent = made(base / "sticky", 0o1777)
    (parent / "link").symlink_to(made(base / "private"))
    os.lchown(parent / "link", NOBODY, NOBODY)
    return parent / "link", parent


@pytest.mark.parametrize(
    "layout",
    [
        open_above,
        open_itself,
        link_into_an_open_one,
        link_in_an_open_one,
        link_through_an_open_one,
        open_by_an_access_list,
        pytest.param(open_to_a_group, marks=root),
        pytest.param(of_a_stranger, marks=root),
        pytest.param(sticky_of_a_stranger, marks=root),
        pytest.param(a_strangers_in_a_sticky_one, marks=root),
        pytest.param(a_strangers_link, marks=root),
    ],
)
def test_a_directory_in_which_somebody_else_may_rename_is_named(
    layout: Callable[[Path], tuple[Path, Path]], short: Path
) -> None:
    directory, opening = layout(short)

    assert opening == open_to_others(directory)


@root
@pytest.mark.parametrize("member", ["root", "somebody"])
def test_a_member_of_roots_group_may_rename_what_it_can_write_to(
    member: str, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = root_group(short)
    group = grp.struct_group(("root", "x", 0, [member]))
    monkeypatch.setattr(grp, "getgrgid", lambda _: group)

    assert (None if member == "root" else directory) == open_to_others(directory)


@root
@pytest.mark.parametrize("mapped", [True, False])
def test_in_a_sandbox_the_files_of_nobody_are_those_of_the_machines_root(
    mapped: bool, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the numbers of most users of the machine, root's too, are replaced by nobody's."""
    theirs = made(short / "theirs", 0o755, owner=NOBODY)
    if mapped:
        module = "mlxcel_integrations.supervisor.socket_directory"
        monkeypatch.setattr(f"{module}._FULL_UID_MAP", ["0", "1000", "1"])

    assert (None if mapped else theirs) == open_to_others(theirs)
