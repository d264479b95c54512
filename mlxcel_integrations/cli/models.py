"""Command ``mlxcel-integrations models``: the models that mlxcel has on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..errors import MlxcelError
from ..supervisor.binary import find_mlxcel
from ..supervisor.local_models import LocalModel, list_local_models
from .terminal import Terminal

__all__ = ["describe_model", "run_models"]

_HEADINGS = ("NAME", "SIZE", "CONTEXT", "PATH")


def run_models(terminal: Terminal, *, as_json: bool = False) -> int:
    """Print the models that mlxcel has on this machine, and return the exit status.

    Args:
        terminal: Where to print.
        as_json: Whether to print a JSON list instead of a table.

    Raises:
        MlxcelError: There is no mlxcel on this machine, or it does not list its models.
    """
    executable = find_mlxcel()
    if executable is None:
        raise MlxcelError(
            "There is no mlxcel on this machine: MLXCEL_BIN is not set, and it is not on PATH. "
            "Install it from https://github.com/lablup/mlxcel, or set MLXCEL_BIN to its path."
        )
    models = list_local_models(executable)
    if as_json:
        terminal.line(json.dumps([_to_json(model) for model in models], indent=2))
    elif models:
        _print_table(terminal, [_HEADINGS, *map(_row, models)])
    else:
        terminal.line(
            "mlxcel has no models on this machine. It downloads one when a server is started with "
            "its name, such as mlx-community/Qwen3-4B-4bit, or with: mlxcel download NAME"
        )
    return 0


def describe_model(model: LocalModel) -> str:
    """Describe a model on this machine: its size and its context window."""
    context = f"context of {model.context.size} tokens" if model.context else "unknown context"
    return f"{_size_text(model.size)}, {context}"


def _to_json(model: LocalModel) -> dict[str, object]:
    context = model.context.size if model.context is not None else None
    return {
        "name": model.name,
        "path": model.path,
        "size": model.size,
        "context_size": context,
    }


def _row(model: LocalModel) -> tuple[str, ...]:
    context = str(model.context.size) if model.context is not None else "unknown"
    return model.name, _size_text(model.size), context, model.path


def _print_table(terminal: Terminal, rows: Sequence[tuple[str, ...]]) -> None:
    name, size, context, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    for row in rows:
        line = f"{row[0]:<{name}}  {row[1]:>{size}}  {row[2]:>{context}}  {row[3]}"
        terminal.piece(line + "\n")


def _size_text(size: int | None) -> str:
    """Return a size in the units of mlxcel's own list."""
    if size is None:
        return "unknown size"
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 1024**power:
            return f"{size / 1024**power:.1f} {unit}"
    return f"{size} B"
