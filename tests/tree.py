"""The tree of the package in docs/contributing.md, made from the first lines of the modules.

`python -m tests.tree` writes it into the page.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mlxcel_integrations"
PAGE = ROOT / "docs" / "contributing.md"
BEGIN, END = "```text\n", "```"
COMMAND = "python -m tests.tree"


def tree(folder: Path = PACKAGE, indent: str = "") -> str:
    """Return a line for each module, and for each folder one with its modules below it."""
    modules = sorted(path for path in folder.glob("*.py") if path.stem != "__init__")
    folders = sorted(path.parent for path in folder.glob("*/__init__.py"))
    width = max(len(path.name) for path in modules) + 1
    lines = [f"{indent}{path.name:<{width}} {first_line(path)}\n" for path in modules]
    for inner in folders:
        lines.append(f"{indent}{inner.name + '/':<{width}} {first_line(inner / '__init__.py')}\n")
        lines.append(tree(inner, indent + "    "))
    return "".join(lines)


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring, without its marks of code."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return docstring.partition("\n")[0].rstrip(".").replace("``", "")


def with_tree(page: str) -> str:
    """Return the page with the tree of today."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + tree() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(with_tree(PAGE.read_text()))
