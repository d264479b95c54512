"""Public names are loaded with their first use, and only then."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mlxcel_integrations.lazy import loaded_on_use

CODE = f"""
from {loaded_on_use.__module__} import loaded_on_use
__all__ = ["Late"]
__getattr__, __dir__ = loaded_on_use(__name__, {{"Late": "inner"}})
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "lazy_package"
    folder.mkdir()
    (folder / "__init__.py").write_text(CODE)
    (folder / "inner.py").write_text("class Late: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_a_name_loads_its_module_once(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = __import__(package)

    assert ["Late"] == dir(loaded)
    assert f"{package}.inner" not in sys.modules
    first = loaded.Late
    monkeypatch.delitem(sys.modules, f"{package}.inner")
    assert first is loaded.Late
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Early'"):
        _ = loaded.Early
    monkeypatch.delitem(sys.modules, package)
