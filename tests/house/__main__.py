"""Print the figures of the package's structure: ``python -m tests.house``."""

from __future__ import annotations

from tests.house.figures import figures

for name, figure in figures().items():
    print(f"{name}: {figure}")
