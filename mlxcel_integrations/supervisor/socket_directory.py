"""Directory for sockets: writable, with a short path, and safe from other users."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import MlxcelError
from ..unix_sockets import MAX_SOCKET_PATH_BYTES, is_utf8

__all__ = ["open_to_others", "runtime_directory"]

# A volume of Kubernetes at /tmp is open to all, and the rest of a container may be read-only.
_TEMPORARY_DIRECTORIES = ("/tmp", "/var/tmp", "/dev/shm")
_FULL_UID_MAP = ["0", "0", "4294967295"]
"""What Linux has in ``uid_map`` for a process that sees all users of the machine."""


def runtime_directory(below: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return a directory for files that live no longer than a program.

    Args:
        below: The longest path that will be used in the directory, relative to it.
        environ: Where ``XDG_RUNTIME_DIR`` and ``TMPDIR`` are looked up.

    Raises:
        MlxcelError: No directory is writable, short enough, and safe from other users.
    """
    unsafe = None
    # Not tempfile.gettempdir(): a fork during its first call leaves a lock behind, on which the
    # child waits forever.
    for parent in (environ.get("XDG_RUNTIME_DIR"), environ.get("TMPDIR"), *_TEMPORARY_DIRECTORIES):
        path = _absolute(parent)
        if path is None or not os.access(path, os.W_OK | os.X_OK):
            continue
        if not is_utf8(path) or len(os.fsencode(path / below)) > MAX_SOCKET_PATH_BYTES:
            continue
        opening = open_to_others(path)
        if opening is None:
            return path
        unsafe = unsafe or opening
    if unsafe is not None:
        raise MlxcelError(
            f"No temporary directory is safe for a socket: other users can rename files in "
            f"{unsafe}. Set TMPDIR to a directory with a short path that only you can write to, or "
            "pass host='127.0.0.1' to do without a socket."
        )
    raise MlxcelError(
        "The path of every writable temporary directory is too long for a socket: set TMPDIR to a "
        "directory with a shorter one."
    )


def _absolute(path: str | None) -> Path | None:
    """Return an absolute path, None if there is none because the working directory was deleted."""
    try:
        return Path(path).absolute() if path else None
    except FileNotFoundError:
        return None


def open_to_others(directory: Path) -> Path | None:
    """Return the first directory on the way to a new file in which other users can rename things.

    They could put another server in the place of ours, however private its own directory is. A
    sticky directory, such as ``/tmp``, protects what belongs to us or to root.

    Args:
        directory: The absolute path of the directory for the file.

    Returns:
        The directory; None if nobody but this user and root can replace the file.
    """
    trusted = _trusted_users()
    for inside, entry in _lookups(directory):
        try:
            safe = _is_safe(inside, entry.lstat().st_uid, trusted)
        except OSError:
            safe = False
        if not safe:
            return inside
    last = directory.resolve()
    return None if _is_safe(last, os.geteuid(), trusted) else last


def _lookups(path: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each directory on the way to a path, with the entry that is looked up in it."""
    inside, left = Path("/"), list(reversed(path.parts[1:]))
    while left:
        name = left.pop()
        if name == "..":
            inside = inside.parent
            continue
        entry = inside / name
        yield inside, entry
        if entry.is_symlink():
            target = entry.readlink()
            inside = Path("/") if target.is_absolute() else inside
            left += reversed(target.parts[target.is_absolute() :])
        else:
            inside = entry


def _is_safe(directory: Path, entry_owner: int, trusted: set[int]) -> bool:
    """Return whether only trusted users can rename an entry of a directory."""
    status = directory.lstat()
    if status.st_uid not in trusted:
        return False
    mode = status.st_mode
    by_others = mode & stat.S_IWOTH or (
        mode & stat.S_IWGRP
        and (_has_access_list(directory) or not _is_private_group(status.st_gid))
    )
    return not by_others or (bool(mode & stat.S_ISVTX) and entry_owner in trusted)


def _has_access_list(directory: Path) -> bool:
    """Return whether an access control list names more users than the owner and the group.

    If it does, the mode bits of the group limit what any of them may do.
    """
    try:
        return "system.posix_acl_access" in os.listxattr(directory)
    except (AttributeError, OSError):  # Only Linux, and not all of its file systems.
        return False


def _is_private_group(group: int) -> bool:
    """Return whether a group has this user or root as its only member.

    Many systems give each user a group with the same name, and let it write to new files.
    """
    try:
        user, found = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(group)
    except KeyError:
        # A container may run as a user that has no name, and without a list of groups.
        return group == 0
    if group == 0:
        return {user, "root"}.issuperset(found.gr_mem)
    return found.gr_name == user and {user}.issuperset(found.gr_mem)


def _trusted_users() -> set[int]:
    """Return the users who may replace anything: this one and root."""
    users = {0, os.geteuid()}
    # In a sandbox with its own users, the files of the machine's root seem to belong to nobody.
    with contextlib.suppress(OSError, ValueError):
        if _FULL_UID_MAP != Path("/proc/self/uid_map").read_text().split():
            users.add(int(Path("/proc/sys/kernel/overflowuid").read_text()))
    return users
