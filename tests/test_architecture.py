"""Imports point one way, the public names stay, and the twin clients stay alike."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mlxcel_integrations
from mlxcel_integrations import LLM, AsyncLLM
from mlxcel_integrations.transport.async_driver import AsyncDriver
from mlxcel_integrations.transport.sync_driver import SyncDriver

Import = ast.Import | ast.ImportFrom
PACKAGE = "mlxcel_integrations"
ROOT = Path(mlxcel_integrations.__file__).parent

# Each line may import what stands above it, and its own folder.
LAYERS = [
    ["errors", "keywords", "lazy", "progress_bar", "secret", "token_cache"],
    ["options", "protocol", "unix_sockets"],
    ["embedded", "structured", "transport"],
    ["supervisor"],
    ["operations"],
    ["modes"],
    ["client"],
    ["async_client"],
    ["adapters"],
    ["langchain", "llama_index", "ray"],
    ["cli"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

FRAMEWORKS = {"langchain", "langchain_core", "llama_index", "ray"}


def modules() -> Iterator[tuple[str, str, ast.Module]]:
    """Yield the dotted name, the folder or file below the package, and the code."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts != ("__init__",):
            yield ".".join(parts).removesuffix(".__init__"), parts[0], ast.parse(path.read_text())


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(
    node: ast.AST, lazy: bool = False
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Yield each import, and whether it waits for a function to be called."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Import):
            yield child, lazy
        elif not is_for_types(child):
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(child, lazy or inside)


def targets(module: str, node: Import) -> list[str]:
    """Return the absolute names that an import loads."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not node.level:
        return [node.module or ""]
    is_package = (ROOT / module.replace(".", "/")).is_dir()
    parts = [PACKAGE, *module.split(".")]
    base = parts[: len(parts) - node.level + is_package]
    if node.module:
        return [".".join([*base, node.module])]
    return [".".join([*base, alias.name]) for alias in node.names]


def edges() -> Iterator[tuple[str, str, str, bool]]:
    """Yield importing module, its folder, imported name, and whether lazily."""
    for module, folder, tree in modules():
        for node, lazy in imports(tree):
            for target in targets(module, node):
                yield module, folder, target, lazy


EDGES = list(edges())


def inner(target: str) -> str | None:
    """Return the folder or file of a name of this package."""
    parts = target.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 else None


def test_the_walk_finds_imports_of_each_kind() -> None:
    assert ("client", "client", f"{PACKAGE}.transport.sync_driver", False) in EDGES
    assert ("client", "client", f"{PACKAGE}.transport.openai_clients", True) in EDGES
    assert ("protocol.messages", "protocol", f"{PACKAGE}.errors", False) in EDGES
    assert (
        "supervisor.managed_server",
        "supervisor",
        f"{PACKAGE}.supervisor.launcher",
        False,
    ) in EDGES
    assert ("transport.openai_errors", "transport", "openai", False) in EDGES
    assert not any(edge[:3] == ("client", "client", "openai") for edge in EDGES)


def test_every_module_has_a_layer() -> None:
    assert set() == {folder for _, folder, _ in modules()} - RANK.keys()


def test_imports_point_one_way() -> None:
    wrong = [
        f"{module} -> {target}"
        for module, folder, target, lazy in EDGES
        if (to := inner(target)) in RANK and to != folder and RANK[str(to)] >= RANK[folder]
    ]

    assert [] == wrong


def test_only_the_version_is_taken_from_the_top() -> None:
    taken = {target for _, _, target, _ in EDGES if target.startswith(PACKAGE)}

    assert {f"{PACKAGE}.__version__"} >= {name for name in taken if inner(name) not in RANK}


@pytest.mark.parametrize("name", ["httpx", "asyncio", "subprocess", "socket", "threading", "time"])
def test_protocol_and_structured_are_pure(name: str) -> None:
    pure = {"protocol", "structured"}
    users = [m for m, folder, target, _ in EDGES if folder in pure and target == name]

    assert [] == users


def test_only_two_core_modules_know_openai() -> None:
    outer = {"langchain", "llama_index", "ray", "cli"}
    users = {m for m, folder, t, _ in EDGES if t == "openai" and folder not in outer}

    assert {"transport.openai_errors", "transport.openai_clients"} == users


@pytest.mark.parametrize("framework", sorted(FRAMEWORKS))
def test_frameworks_stay_in_their_adapters(framework: str) -> None:
    own = {"langchain_core": "langchain"}.get(framework, framework)
    users = {m for m, folder, t, _ in EDGES if t.split(".")[0] == framework and folder != own}

    assert set() == {user for user in users if not user.startswith("cli")}


def test_adapters_do_not_know_each_other() -> None:
    pairs = {(folder, inner(target)) for _, folder, target, _ in EDGES}

    assert set() == pairs & {("langchain", "llama_index"), ("llama_index", "langchain")}


# --------------------------------------------------------------------------- public names

PUBLIC = [
    "LLM",
    "AsyncLLM",
    "ChatReply",
    "ManagedServer",
    "MlxcelError",
    "MlxcelServerError",
    "MlxcelStreamError",
    "MlxcelTimeoutError",
    "RankedDocument",
    "ServerFeatures",
    "StructuredOutputError",
    "StructuredOutputTruncated",
    "__version__",
]


def test_public_names_are_these() -> None:
    assert PUBLIC == mlxcel_integrations.__all__
    assert sorted(PUBLIC) == dir(mlxcel_integrations)
    for name in PUBLIC:
        assert getattr(mlxcel_integrations, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Llm'"):
        _ = mlxcel_integrations.Llm


@pytest.mark.parametrize("module", [m for m, _, _ in modules() if "__main__" not in m])
def test_every_module_exports_what_it_has(module: str) -> None:
    if module.split(".")[0] == "ray":
        pytest.importorskip("ray", reason="the extra [ray] is not installed")
    loaded = importlib.import_module(f"{PACKAGE}.{module}")

    assert [] == [name for name in getattr(loaded, "__all__", []) if not hasattr(loaded, name)]


# --------------------------------------------------------------------------- twins


def public(kind: type) -> dict[str, list[tuple[str, Any, Any]] | None]:
    """Return the public names of a class, with the parameters of its methods."""
    members: dict[str, list[tuple[str, Any, Any]] | None] = {}
    for name, member in vars(kind).items():
        if name.startswith("_") and name != "__init__":
            continue
        function = member.__func__ if isinstance(member, classmethod) else member
        members[name] = None
        if callable(function):
            parameters = inspect.signature(function).parameters.values()
            members[name] = [(p.name, p.kind, p.default) for p in parameters]
    return members


TWINS = [(LLM, AsyncLLM), (SyncDriver, AsyncDriver)]


@pytest.mark.parametrize(("sync", "twin"), TWINS)
def test_the_twins_offer_the_same(sync: type, twin: type) -> None:
    assert {"close"} <= public(sync).keys()
    assert public(sync) == public(twin)
