"""Every notebook runs from top to bottom, and is saved as it was left by a run.

``python -m tests.notebooks.test_notebooks`` runs and saves them, or those that are named.
"""

from __future__ import annotations

import functools
import html
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbconvert import HTMLExporter

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
        timeout=600,
        coalesce_streams=True,
        record_timing=False,
        # What Ray's C++ writes past Python is no output of a cell.
        extra_arguments=["--IPKernelApp.capture_fd_output=False"],
        resources={"metadata": {"path": str(folder)}},
    )
    # It stops only kernels of its own, unless it is told to.
    client.execute(cleanup_kc=True, env=environment())
    return notebook


def environment() -> dict[str, str]:
    """Return what a kernel inherits: no model of the user, and nothing that writes to stderr."""
    quiet = {
        # A busy machine takes long enough to start a server for its progress to be shown.
        "TQDM_DISABLE": "1",
        # The package of the bars that are not shown.
        "PYTHONWARNINGS": "ignore:IProgress not found",
        # Ray tells nobody about itself, and leaves no token in the user's home.
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    theirs = {name: value for name, value in os.environ.items() if not name.startswith("MLXCEL_")}
    return theirs | quiet


def save(path: Path) -> None:
    """Run a notebook and save it with its outputs, without traces of this machine."""
    notebook = executed(path, path.parent)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, path)


def kinds_of_outputs(notebook: Any) -> list[list[str]]:
    """Return what each code cell shows: ``stdout``, ``stderr``, ``execute_result``, ...

    The line of a start is left out: whether it is drawn depends on how long the start takes.
    """
    return [
        [output.get("name", output.output_type) for output in cell.outputs if not is_start(output)]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def is_start(output: Any) -> bool:
    """Return whether an output is the line of a start, which is emptied if the start fails."""
    text = output.get("data", {}).get("text/plain")
    is_line = text is not None and (not text or text.startswith("Starting "))
    return output.output_type == "display_data" and is_line


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], Any]]:
    """Runs a notebook, once. What one writes, the others find, as in a clone of a user."""
    clone = tmp_path_factory.mktemp("clone")
    (clone / "docs").symlink_to(ROOT / "docs")
    folder = clone / "notebooks"
    shutil.copytree(ROOT / "notebooks", folder, ignore=shutil.ignore_patterns("qdrant"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(clone))
        run_once = functools.cache(lambda path: executed(path, folder))

        def run_if_installed(path: Path) -> Any:
            # It needs PyStemmer 2, which has no wheels for Python 3.14.
            if "llama_index.retrievers.bm25" in path.read_text():
                pytest.importorskip("llama_index.retrievers.bm25")
            return run_once(path)

        yield run_if_installed


@pytest.mark.engine
@pytest.mark.timeout(300)
@each_notebook
def test_a_notebook_runs_to_its_end(path: Path, run: Callable[[Path], Any]) -> None:
    kinds = kinds_of_outputs(run(path))

    assert not any("stderr" in kinds_of_cell for kinds_of_cell in kinds)
    assert kinds_of_outputs(nbformat.read(path, as_version=4)) == kinds


@pytest.mark.engine
@pytest.mark.timeout(300)
def test_keywords_and_vectors_together_find_nine_answers_of_ten(run: Callable[[Path], Any]) -> None:
    """Among the first five sections, by what the notebook prints."""
    notebook = run(ROOT / "notebooks" / "rag_evaluation.ipynb")
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ())
    )
    rate = re.search(r"hybrid +hit rate at 5: (\S+)", printed)

    assert rate is not None
    assert float(rate[1]) >= 0.9


def right_of(notebook: Any, events: list[tuple[object, ...]]) -> float:
    """Return the share of values that stand in the same row of the notebook's table."""
    texts = [
        output["data"].get("text/markdown") or output["data"]["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "execute_result"
    ]
    (table,) = [text for text in texts if all(kind in text for kind in ("storm", "fire", "flood"))]
    rows = [re.split(r"\s{2,}|\s*\|\s*", row.strip("| ")) for row in table.splitlines()]
    answers = [row[-len(events[0]) :] for row in rows if {"storm", "fire", "flood"} & set(row)]
    assert len(events) == len(answers), table
    right = [
        str(value) in answer
        for event, row in zip(events, answers, strict=True)
        for value, answer in zip(event, row, strict=True)
    ]
    return sum(right) / len(right)


REPORTED = [
    ("Monday", "storm", "school", 3),
    ("Wednesday", "fire", "fish market", 0),
    ("Friday", "flood", "library", 1),
]
LABELS = [
    ("storm", "school"),
    ("fire", "fish market"),
    ("flood", "library"),
    ("fire", "pier"),
    ("storm", "ferry house"),
    ("flood", "houses"),
    ("storm", "harbour"),
    ("flood", "mill"),
    ("fire", "school"),
]


@pytest.mark.engine
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "events"),
    [("structured_extraction", REPORTED), ("batch_ray", LABELS)],
    ids=["structured_extraction", "batch_ray"],
)
def test_nine_values_of_ten_are_right(
    name: str, events: list[tuple[object, ...]], run: Callable[[Path], Any]
) -> None:
    saved = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)

    assert right_of(saved, events) >= 0.9
    # Other processors, and other answers at the same time, round in other ways.
    assert right_of(run(ROOT / "notebooks" / f"{name}.ipynb"), events) >= 0.8


def shown_by(notebook: Any) -> str:
    """Return all that a notebook shows as text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "\n".join(
        output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs
    )


@pytest.mark.engine
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "answers"),
    [
        (
            "langchain_quickstart",
            ["Paris", "A place where books are kept", "Red", "Berlin", "Madrid"],
        ),
        (
            "llamaindex_quickstart",
            [
                "lighthouse? Red",
                "Five crowns",
                "Old ships and nets",
                "assistant: 32 metres.\nuser",
                "assistant: Red.\n",
                "(colour='red', height=32, year=1885)",
                "colour='red' height=32 year=1885",
            ],
        ),
    ],
    ids=["langchain_quickstart", "llamaindex_quickstart"],
)
def test_a_quickstart_shows_right_answers(
    name: str, answers: list[str], run: Callable[[Path], Any]
) -> None:
    path = ROOT / "notebooks" / f"{name}.ipynb"

    for notebook in (nbformat.read(path, as_version=4), run(path)):
        shown = shown_by(notebook)
        assert [] == [answer for answer in answers if answer not in shown], shown


@each_notebook
def test_a_saved_notebook_makes_a_page_with_its_pictures(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)

    page, _ = HTMLExporter().from_notebook_node(notebook)

    assert notebook.cells[0].source.splitlines()[0].removeprefix("# ") in html.unescape(page)
    pictures = sum(kinds.count("display_data") for kinds in kinds_of_outputs(notebook))
    assert pictures == page.count('src="data:image/png')
    assert "rag_" not in path.stem or pictures > 0


@each_notebook
def test_a_saved_notebook_tells_nothing_of_the_machine(path: Path) -> None:
    text = path.read_text()
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]

    assert any(cell["outputs"] for cell in cells)
    assert all({} == cell["metadata"] for cell in cells)
    traces = re.compile(r"/(?:home|root|Users|tmp|var|private)/|\b0x[0-9a-f]{6,}")
    assert [] == [line for line in text.splitlines() if traces.search(line)]


@each_notebook
def test_a_saved_notebook_was_run_in_order(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]

    assert list(range(1, len(counts) + 1)) == counts


if __name__ == "__main__":
    for notebook_path in NOTEBOOKS:
        if not sys.argv[1:] or notebook_path.stem in sys.argv[1:]:
            save(notebook_path)


def test_a_refused_connection_in_a_kernel_is_the_cell_and_its_message(tmp_path: Path) -> None:
    code = """
from mlxcel_integrations.langchain import ChatMlxcel
ChatMlxcel(base_url="http://127.0.0.1:9", max_retries=0).invoke("hi")
"""
    cell = nbformat.v4.new_code_cell(code, metadata={"tags": ["raises-exception"]})
    path = tmp_path / "refused.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)

    (output,) = executed(path, tmp_path).cells[0].outputs

    lines = "\n".join(output.traceback).splitlines()
    assert "Cannot reach http://127.0.0.1:9" in lines[-1]
    assert 8 >= len(lines), lines
