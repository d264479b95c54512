"""mlxcel looks for a model in several directories of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxcel_integrations.supervisor.model_store import (
    model_directories,
    read_bounded,
    stored_path,
)

COMMIT = "0123abc"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The home directory; a directory beside it is the working directory."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def make(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    return directory


def make_snapshot(hub: Path, folder: str = "models--owner--name", commit: str = COMMIT) -> Path:
    refs = hub / folder / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(commit + "\n")
    return make(hub / folder / "snapshots" / commit.strip())


def test_a_directory_is_the_model(tmp_path: Path) -> None:
    assert [tmp_path] == model_directories(str(tmp_path), (), {})


def test_a_repository_is_looked_for_in_each_place(home: Path) -> None:
    expected = [
        make(Path("models/name")),
        make_snapshot(home / ".cache/huggingface/hub"),
        make(home / ".cache/mlxcel/models/owner/name"),
    ]

    assert expected == model_directories("owner/name", (), {})
    assert expected[:1] == model_directories("other/name", (), {})


def test_variables_name_the_places(tmp_path: Path) -> None:
    hub = make_snapshot(tmp_path / "hf/hub")
    cache = make_snapshot(tmp_path / "hf cache")
    store = make(tmp_path / "store/owner/name")
    own = make(tmp_path / "own/models/owner/name")

    for environ, expected in [
        ({"HF_HOME": str(tmp_path / "hf")}, hub),
        ({"HF_HUB_CACHE": str(tmp_path / "hf cache"), "HF_HOME": str(tmp_path / "hf")}, cache),
        ({"MLXCEL_MODELS_DIR": str(tmp_path / "store")}, store),
        ({"MLXCEL_CACHE_DIR": str(tmp_path / "own")}, own),
    ]:
        assert [expected] == model_directories("owner/name", (), environ)


@pytest.mark.parametrize("words", [["--models-dir", "{}"], ["-v", "--model-store-root={}"]])
def test_an_argument_names_another_place(words: list[str], tmp_path: Path) -> None:
    store = make(tmp_path / "store/owner/name")
    arguments = [word.format(store.parents[1]) for word in words]

    assert [store] == model_directories("owner/name", arguments, {})
    assert [] == model_directories("owner/name", ["--models-dir"], {})


@pytest.mark.parametrize(
    ("environ", "owner"), [({}, "mlx-community"), ({"MLXCEL_DEFAULT_ORG": "me"}, "me")]
)
def test_a_name_alone_has_the_default_owner(
    environ: dict[str, str], owner: str, home: Path
) -> None:
    directory = make(home / ".cache/mlxcel/models" / owner / "name")

    assert [directory] == model_directories("name", (), environ)


def test_another_revision_may_be_anywhere(home: Path) -> None:
    make(home / ".cache/mlxcel/models/owner/name")

    assert [] == model_directories("owner/name", ["--revision", "v2"], {})


@pytest.mark.parametrize(
    "model", ["owner/name", "a/b/c", "/nowhere/x", "../x", "x" * 5000, "a\0b", "früh/stück"]
)
def test_what_is_not_here_has_no_directory(model: str) -> None:
    assert [] == model_directories(model, (), {})


@pytest.mark.parametrize("ref", [b"\xff", b"x" * 1000, b""])
def test_a_broken_reference_leads_nowhere(ref: bytes, home: Path) -> None:
    hub = home / ".cache/huggingface/hub"
    make_snapshot(hub)
    (hub / "models--owner--name/refs/main").write_bytes(ref)

    assert [] == model_directories("owner/name", (), {})


def test_without_a_home_directory_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)

    assert [] == model_directories("owner/name", (), {})


def test_a_stored_model_without_an_owner_is_served_by_its_path(home: Path) -> None:
    store = home / ".cache/mlxcel/models"
    directory = make(store / "gpt2")
    make(store / "owner/name")

    assert str(directory) == stored_path("gpt2", (), {})
    assert [directory] == model_directories("gpt2", (), {})
    for model in ("owner/name", "name", "owner", "embedded", "/nowhere", ".", ""):
        assert model == stored_path(model, (), {})


def test_a_file_is_read_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")

    assert b"12345" == read_bounded(path, 5)
    with pytest.raises(ValueError, match="more than 4 bytes"):
        read_bounded(path, 4)
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path, 5)
