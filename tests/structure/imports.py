"""The imports of the package: which module loads which, and in which direction they point."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[2] / "mlxcel_integrations"

# Each row may import the rows above it; a folder may also import itself.
LAYERS = [
    ["errors", "forks"],
    ["keywords", "lazy", "progress_bar", "secret"],
    ["protocol", "unix_sockets"],
    ["options"],
    ["embedded", "structured", "transport"],
    ["supervisor"],
    ["operations"],
    ["modes"],
    ["base_client"],
    ["client"],
    ["async_client"],
    ["adapters"],
    ["langchain", "llama_index", "ray"],
    ["cli"],
    ["__main__"],
]
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}


class Import(NamedTuple):
    """One of our modules and a module that it imports, inside a function if ``lazy``."""

    module: str
    target: str
    lazy: bool

    @property
    def room(self) -> str:
        """The folder of the module, or the module itself at the top of the package."""
        return room(self.module)

    @property
    def target_room(self) -> str | None:
        """The room of the target, None for other packages."""
        package, _, name = self.target.partition(".")
        return room(name) if package == PACKAGE.name and name else None


def room(module: str) -> str:
    """Return the folder of a module, or its name if it is at the top of the package."""
    return module.partition(".")[0]


@cache
def modules() -> dict[str, ast.Module]:
    """Return the code of each module by its name below the package, whose own is left out."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if name != "__init__":
            found[name.removesuffix(".__init__")] = ast.parse(path.read_text())
    return found


def is_package(module: str) -> bool:
    """Return whether a module is a folder."""
    return PACKAGE.joinpath(*module.split(".")).is_dir()


@cache
def imports() -> tuple[Import, ...]:
    """Return every import except those for type checkers."""
    return tuple(
        Import(module, target, lazy)
        for module, tree in modules().items()
        for node, lazy in import_statements(tree)
        for target in sorted(imported_modules(module, node))
    )


def import_statements(
    node: ast.AST, lazy: bool = False
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Yield each import statement, and whether it is inside a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, lazy
        elif not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from import_statements(child, lazy or function)


def imported_modules(module: str, node: ast.Import | ast.ImportFrom) -> set[str]:
    """Return the absolute names of the modules that a statement loads."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    base = ".".join([*parents(module, node.level), *filter(None, [node.module])])
    names = {f"{base}.{alias.name}" for alias in node.names}
    # ``from .folder import x`` loads the module x if there is one. From the top of the package,
    # names are told apart.
    return {name if is_ours(name) or base == PACKAGE.name else base for name in names}


def parents(module: str, level: int) -> list[str]:
    """Return the package from which as many dots as ``level`` lead on."""
    if not level:
        return []
    parts = [PACKAGE.name, *module.split(".")]
    return parts[: len(parts) - level + is_package(module)]


def is_ours(name: str) -> bool:
    """Return whether an absolute name is that of a module of the package."""
    package, _, module = name.partition(".")
    return package == PACKAGE.name and module in modules()


def upward_imports() -> list[str]:
    """Return the imports, lazy ones included, of a room that is not below the importing one."""
    return [
        f"{found.module} -> {found.target}"
        for found in imports()
        if found.target_room in RANK
        and found.room != found.target_room
        and RANK.get(found.room, len(LAYERS)) <= RANK[found.target_room]
    ]


def circles() -> list[list[str]]:
    """Return the groups of modules that import each other, lazy imports included."""
    graph = defaultdict(set)
    for found in imports():
        graph[f"{PACKAGE.name}.{found.module}"].add(found.target)
    reached = {module: reachable(module, graph) for module in graph}
    groups = {
        frozenset(other for other in others if module in reached.get(other, ()))
        for module, others in reached.items()
        if module in others
    }
    return sorted(sorted(group) for group in groups)


def reachable(start: str, graph: dict[str, set[str]]) -> set[str]:
    """Return the nodes of a graph that are one step or more from the start."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found
