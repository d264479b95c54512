"""Figures of the package's structure; ``tests/test_architecture.py`` limits most of them."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from mlxcel_integrations.options.fields import ConnectionOptions
from tests.help_texts import keywords
from tests.structure.imports import PACKAGE, circles, is_package, modules, upward_imports
from tests.structure.trace import SOCKET, Function, streamed_message

TESTS = Path(__file__).parents[1]
CORE = ("protocol", "structured", "transport", "supervisor")

# The classes that wait for a server, or are bases of such, and leave the decisions to others.
SHELLS = {
    "BaseClient": "base_client",
    "LLM": "client",
    "AsyncLLM": "async_client",
    "SyncDriver": "transport.sync_driver",
    "AsyncDriver": "transport.async_driver",
}
# Not `match`, by which a driver only tells the kinds of steps apart.
DECISIONS = ast.If | ast.IfExp | ast.While | ast.Try | ast.ExceptHandler | ast.Compare | ast.BoolOp


def flat_modules() -> list[str]:
    """Return the files at the top of the package, without the one that only runs a command."""
    return sorted(path.name for path in PACKAGE.glob("*.py") if path.name != "__main__.py")


def class_named(name: str, module: str) -> ast.ClassDef:
    """Return the code of a class."""
    return next(
        node
        for node in modules()[module].body
        if isinstance(node, ast.ClassDef) and node.name == name
    )


def decisions(code: ast.AST) -> int:
    """Return the number of nodes of the syntax tree that decide."""
    return sum(isinstance(node, DECISIONS) for node in ast.walk(code))


def decisions_of_shells() -> dict[str, int]:
    """Return the number of nodes that decide in each class that waits for a server.

    The functions in the module of a driver are counted as its own.
    """
    return {
        name: sum(map(decisions, [class_named(name, module), *functions_beside(name, module)]))
        for name, module in SHELLS.items()
    }


def functions_beside(name: str, module: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the functions in the module of a driver, none for a client."""
    return [
        node
        for node in modules()[module].body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and name.endswith("Driver")
    ]


def bases(name: str, module: str) -> list[str]:
    """Return the bases of a class, as its code names them."""
    return [ast.unparse(base) for base in class_named(name, module).bases]


OPTION_MODULES = (
    "keywords",
    "options.fields",
    "protocol.timeouts",
    "transport.connection",
    "transport.settings",
    "transport.tls",
)
"""The modules that hold the options of a connection; elsewhere, names such as ``model`` are used
for other things, too."""


def places_to_edit(option: str) -> list[str]:
    """Return the lines that declare an option of a connection, check it, or keep a copy of it.

    What ``tests.help_texts`` writes need not be edited.
    """
    return [
        f"{module}:{line}"
        for module in OPTION_MODULES
        for line in sorted(set(lines_to_edit(modules()[module], option)))
    ]


def lines_to_edit(tree: ast.Module, option: str) -> Iterator[int]:
    """Yield the numbers of these lines in one module."""
    for node in ast.walk(tree):
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)) if name == option:
                if f" {ast.unparse(node)}\n" not in "".join(keywords().values()):
                    yield node.lineno
            # Not a dictionary among arguments, which may have another library's names.
            case ast.Assign(value=ast.Dict(keys=keys)) | ast.AnnAssign(value=ast.Dict(keys=keys)):
                yield from (key.lineno for key in keys if is_text(key, option))
            case ast.Call(args=args):
                yield from (arg.lineno for arg in args if is_text(arg, option))
            case ast.Assign(targets=[ast.Attribute(attr=name)], value=value) if name == option:
                if ast.unparse(value) == f"settings.{option}":
                    yield node.lineno


def is_text(node: ast.expr | None, text: str) -> bool:
    """Tell whether an expression is this text."""
    return isinstance(node, ast.Constant) and node.value == text


def places_of_all_options() -> dict[str, list[str]]:
    """Return these lines for each option of a connection but ``model``, an argument of its own."""
    names = [name for name in ConnectionOptions.model_fields if name != "model"]
    return {name: places_to_edit(name) for name in names}


def names_with_two_homes() -> dict[str, list[str]]:
    """Return the names that two modules of the core, or more, define at their top."""
    homes = defaultdict(list)
    for module, tree in modules().items():
        if module.startswith(CORE):
            for name in sorted({name for node in tree.body for name in defined_names(node)}):
                homes[name].append(module)
    return {name: found for name, found in sorted(homes.items()) if len(found) > 1}


def defined_names(node: ast.stmt) -> list[str]:
    """Return the names that a statement defines, except those that Python itself reads."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Assign(targets=targets):
            parts = [part for target in targets for part in ast.walk(target)]
        case ast.AnnAssign(target=target):
            parts = [target]
        case _:
            return []
    names = [part.id for part in parts if isinstance(part, ast.Name)]
    return [name for name in names if not name.startswith("__")]


def modules_without_tests() -> list[str]:
    """Return the modules without a test file of their name in the folder of the same name.

    For a module at the top of the package, a folder of its name will do.
    """
    return [
        module
        for module in modules()
        if not (is_package(module) or module.endswith("__main__") or has_tests(module))
    ]


def has_tests(module: str) -> bool:
    """Return whether a module has a test file, or a folder of tests, of its name."""
    path = TESTS.joinpath(*module.split("."))
    return path.is_dir() or path.with_name(f"test_{path.name}.py").exists()


def path_of_a_message() -> list[Function]:
    """Return the functions on the path of a streamed message, each as often as it is called."""
    called = [call.function for call in streamed_message()]
    # Comprehensions are calls in Python 3.11 only.
    return [call for call in called if call.module != SOCKET and call.is_named]


def moves(files: list[str]) -> int:
    """Return how often the next call is in another file."""
    return sum(here != there for here, there in pairwise(files))


def figures() -> dict[str, object]:
    """Return each figure by its name."""
    path = path_of_a_message()
    shells = decisions_of_shells()
    places = places_of_all_options()
    most = max(places, key=lambda option: len(places[option]))
    return {
        "modules at the top of the package": len(flat_modules()),
        "circles between modules": len(circles()),
        "upward imports": len(upward_imports()),
        "nodes that decide in the shells": f"{sum(shells.values())} {shells}",
        "functions on the path of a streamed message": len(set(path)),
        "moves between files on this path": moves([function.module for function in path]),
        "places to edit for a connection option": f"{len(places[most])} {most}: {places[most]}",
        "bases of ChatMlxcel": len(bases("ChatMlxcel", "langchain.chat_models")),
        "modules without a test file of their name": len(modules_without_tests()),
        "names with two meanings in the core": len(names_with_two_homes()),
    }
