"""A part of the benchmarks: what is measured, what it is compared with, and its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Cells", "Part"]

Cells = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Part:
    """One table.

    Attributes:
        name: How it is asked for.
        unit: What a figure is, as the heading of its column.
        scale: How many of the unit a second has.
        measure: Returns the seconds of each client. Takes the number of rounds, and whether the
            packages of others take part, as far as they are installed.
        floors: What nobody who does the same can do without: for each client, those whose sum it
            is compared with.
        limits: What a client may take at most, as a multiple of its floor. They are wide, so
            that a busy machine keeps them and work that is done twice does not.
    """

    name: str
    unit: str
    scale: float
    measure: Callable[[int, bool], Mapping[str, float]]
    floors: Mapping[str, tuple[str, ...]]
    limits: Mapping[str, float] = field(default_factory=dict)

    def ratio(self, client: str, seconds: Mapping[str, float]) -> float | None:
        """Return the time of a client as a multiple of its floor, None for a floor."""
        floors = self.floors.get(client)
        return seconds[client] / sum(seconds[floor] for floor in floors) if floors else None

    def above(self, seconds: Mapping[str, float]) -> list[str]:
        """Return a line for each client that takes more than it may."""
        return [
            f"{self.name}: {client} takes {ratio:.2f} times its floor, more than {limit}"
            for client, limit in self.limits.items()
            if (ratio := self.ratio(client, seconds) or 0) > limit
        ]

    def cells(self, seconds: Mapping[str, float]) -> Cells:
        """Return the table, its heading first."""
        rows = [["Client", self.unit, "Compared"]]
        for client, figure in seconds.items():
            ratio = self.ratio(client, seconds)
            amount = f"{figure * self.scale:,.{0 if figure * self.scale >= 100 else 1}f}"
            rows.append([client, amount, f"{ratio:.2f}" if ratio else ""])
        return rows
