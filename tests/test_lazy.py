"""Public names are loaded with their first use, and only then."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxcel_integrations.lazy import loaded_on_use

CODE = f"""
from {loaded_on_use.__module__} import loaded_on_use
__all__ = ["Late"]
__getattr__, __dir__ = loaded_on_use(__name__, {{"Late": "inner"}}, extra="late")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    folder = tmp_path / "lazy_package"
    folder.mkdir()
    (folder / "__init__.py").write_text(CODE)
    (folder / "inner.py").write_text("class Late: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder.name
    for name in (folder.name, f"{folder.name}.inner"):
        sys.modules.pop(name, None)


def test_a_name_loads_its_module_once(package: str) -> None:
    loaded = __import__(package)

    assert ["Late"] == dir(loaded)
    assert f"{package}.inner" not in sys.modules
    first = loaded.Late
    del sys.modules[f"{package}.inner"]
    assert first is loaded.Late
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Early'"):
        _ = loaded.Early


@pytest.mark.parametrize(
    ("imported", "expected"),
    [
        pytest.param(
            "framework.core",
            "lazy_package needs framework, which is not installed. "
            "Run: pip install 'mlxcel-integrations[late]'.",
            id="a package that the extra installs",
        ),
        pytest.param(
            "lazy_package.gone",
            "No module named 'lazy_package.gone'",
            id="a module of the package itself",
        ),
    ],
)
def test_a_missing_import_names_the_extra(
    package: str, imported: str, expected: str, tmp_path: Path
) -> None:
    (tmp_path / package / "inner.py").write_text(f"import {imported}\n")
    loaded = __import__(package)

    with pytest.raises(ModuleNotFoundError) as raised:
        _ = loaded.Late

    assert expected == str(raised.value)
    assert imported.split(".core")[0] == raised.value.name


@pytest.mark.parametrize(
    ("module", "name", "missing", "extra"),
    [
        ("mlxcel_integrations.langchain", "ChatMlxcel", "langchain_core", "langchain"),
        ("mlxcel_integrations.llama_index", "Mlxcel", "llama_index", "llama-index"),
        ("mlxcel_integrations.ray", "chat", "pyarrow", "ray"),
    ],
)
def test_an_adapter_without_its_framework_says_what_to_install(
    module: str, name: str, missing: str, extra: str
) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from {module} import {name}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert f"pip install 'mlxcel-integrations[{extra}]'." in ended.stderr.splitlines()[-1]
    assert len(ended.stderr.splitlines()) < 15
