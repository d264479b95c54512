"""Model store of mlxcel: the directories of this machine in which it may find a model."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

__all__ = ["DEFAULT_OWNER", "model_directories", "read_bounded", "read_config", "stored_path"]

DEFAULT_OWNER = "mlx-community"
"""Owner of a repository that is named without one."""

_MAX_CONFIG_BYTES = 16 * 2**20

_REPOSITORY = re.compile(r"(?:([\w.-]+)/)?([\w.-]+)", re.ASCII)


def model_directories(
    model: str, extra_args: Sequence[str], environ: Mapping[str, str]
) -> list[Path]:
    """Return the directories that mlxcel may read a model from; it takes the first complete one.

    Args:
        model: A directory, or a repository that has been downloaded.
        extra_args: Arguments of the server, which may name a directory of downloaded models.
        environ: Environment of the server.
    """
    model = stored_path(model, extra_args, environ)
    try:
        if Path(model).is_dir():
            return [Path(model)]
        directories = _repository_directories(model, extra_args, environ)
        return [place for place in directories if (place / "config.json").exists()]
    except OSError:
        return []


def stored_path(model: str, extra_args: Sequence[str], environ: Mapping[str, str]) -> str:
    """Return the path of a downloaded model that has a name without an owner, or else its name.

    ``mlxcel list`` shows such a model by that name, but ``mlxcel serve`` would put the default
    owner before it.
    """
    if "/" in model or not _REPOSITORY.fullmatch(model):
        return model
    for directory in (store / model for store in _download_directories(extra_args, environ)):
        # Not Path.is_file(), which raises an error where a directory may not be read.
        if os.path.isfile(directory / "config.json"):  # noqa: PTH113
            return str(directory.absolute())
    return model


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a file that should be small.

    Raises:
        OSError: It cannot be read, or is a pipe or device, on which a reader would wait.
        ValueError: It has more bytes than the limit.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{path} has more than {limit} bytes")
    return data


def read_config(directory: Path) -> bytes:
    """Read the ``config.json`` of a model.

    Raises:
        OSError: It cannot be read.
        ValueError: It is too large to be one.
    """
    return read_bounded(directory / "config.json", _MAX_CONFIG_BYTES)


def _repository_directories(
    model: str, extra_args: Sequence[str], environ: Mapping[str, str]
) -> list[Path]:
    named = _REPOSITORY.fullmatch(model)
    # Another revision may be anywhere, or nowhere yet.
    if named is None or _flag_value("--revision", extra_args) is not None:
        return []
    owner, name = named[1] or environ.get("MLXCEL_DEFAULT_ORG") or DEFAULT_OWNER, named[2]
    return [
        Path("models", name),
        *_snapshots(f"models--{owner}--{name}", environ),
        *(store / owner / name for store in _download_directories(extra_args, environ)),
    ]


def _snapshots(folder: str, environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the directory of a repository in the cache of Hugging Face, if it is there."""
    home = environ.get("HF_HOME") or "~/.cache/huggingface"
    hub = Path(environ.get("HF_HUB_CACHE") or Path(home, "hub"))
    try:
        repository = hub.expanduser() / folder
        commit = read_bounded(repository / "refs" / "main", 200).decode().strip()
    except (OSError, ValueError, RuntimeError):
        # It is not there, or there is no home directory.
        return
    yield repository / "snapshots" / commit


def _download_directories(extra_args: Sequence[str], environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the directories in which mlxcel may keep downloaded models."""
    for flag in ("--models-dir", "--model-store-root"):
        if value := _flag_value(flag, extra_args):
            yield Path(value)
    cache = Path(environ.get("MLXCEL_CACHE_DIR") or "~/.cache/mlxcel", "models")
    try:
        yield Path(environ.get("MLXCEL_MODELS_DIR") or cache.expanduser())
    except RuntimeError:
        # There is no home directory.
        return


def _flag_value(flag: str, arguments: Sequence[str]) -> str | None:
    """Return the value of a flag in a command line, None without it."""
    for at, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name == flag:
            return value if equals else "".join(arguments[at + 1 : at + 2])
    return None
