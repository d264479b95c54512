"""Every notebook runs from top to bottom, and is saved as it was left by a run.

``python -m tests.notebooks.test_notebooks`` runs and saves them.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def executed(path: Path, folder: Path) -> Any:
    """Return a notebook with the outputs of a new run; an error in a cell is raised.

    Args:
        path: The notebook.
        folder: Working directory of the run.
    """
    notebook = nbformat.read(path, as_version=4)
    # Without folders to search, the only kernel is the one of this interpreter.
    specs = KernelSpecManager(kernel_dirs=[])
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs)
    client = NotebookClient(
        notebook,
        km=kernel,
        timeout=100,
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    # It stops only kernels of its own, unless it is told to.
    client.execute(cleanup_kc=True)
    return notebook


def save(path: Path) -> None:
    """Run a notebook and save it with its outputs, without traces of this machine."""
    notebook = executed(path, path.parent)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, path)


def kinds_of_outputs(notebook: Any) -> list[list[str]]:
    """Return what each code cell shows: ``stdout``, ``stderr``, ``execute_result``, ..."""
    return [
        [output.get("name", output.output_type) for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.engine
@each_notebook
def test_a_notebook_runs_to_its_end(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("MLXCEL_MODEL", raising=False)
    # A busy machine takes long enough to start a server for its progress to be shown.
    monkeypatch.setenv("TQDM_DISABLE", "1")

    notebook = executed(path, tmp_path)

    kinds = kinds_of_outputs(notebook)
    assert not any("stderr" in kinds_of_cell for kinds_of_cell in kinds)
    assert kinds_of_outputs(nbformat.read(path, as_version=4)) == kinds


@each_notebook
def test_a_saved_notebook_tells_nothing_of_the_machine(path: Path) -> None:
    text = path.read_text()
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]

    assert any(cell["outputs"] for cell in cells)
    assert all(cell["metadata"] == {} for cell in cells)
    assert [] == re.findall(r".*/(?:home|root|Users|tmp|var|private)/.*", text)
    assert [] == re.findall(r".*\b0x[0-9a-f]{6,}.*", text)


@each_notebook
def test_a_saved_notebook_was_run_in_order(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]

    assert list(range(1, len(counts) + 1)) == counts


if __name__ == "__main__":
    for notebook_path in NOTEBOOKS:
        save(notebook_path)
