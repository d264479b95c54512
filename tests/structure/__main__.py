"""Print the figures of the package's structure: ``python -m tests.structure``."""

from __future__ import annotations

from tests.structure.figures import figures

for name, figure in figures().items():
    print(f"{name}: {figure}")
