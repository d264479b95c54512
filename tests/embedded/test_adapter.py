"""The adapter of the built-in model."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from mlxcel_integrations.embedded.adapter import locate_adapter
from mlxcel_integrations.embedded.model import locate_model
from mlxcel_integrations.errors import MlxcelError
from tests.embedded.engine import serving

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("content", [b"GGUF", None], ids=["damaged", "missing"])
def test_a_file_that_is_not_the_adapter_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "adapter.gguf"
    if content:
        path.write_bytes(content)

    with pytest.raises(MlxcelError, match=r"missing or damaged.*pip install --force-reinstall"):
        locate_adapter(path)


def test_only_the_built_in_model_is_served_with_it() -> None:
    """The same weights as a file of the user are served as they are."""
    adapters = []
    for model in ("embedded", str(locate_model("embedded"))):
        with (
            tempfile.TemporaryDirectory(prefix="e", dir="/tmp") as directory,
            serving(Path(directory) / "x.sock", "-m", model) as client,
        ):
            adapters.append([Path(one["path"]).name for one in client.get("/lora-adapters").json()])

    assert [["short-answers.gguf"], []] == adapters
