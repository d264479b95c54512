"""Charts of tables in the documentation: bars in SVG, ours in a colour of their own.

``python -m tests.benchmarks.charts`` draws them from what the pages say, as does ``make bench``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

__all__ = ["CHARTS", "COMMAND", "Bar", "drawn", "write"]

DOCS = Path(__file__).parents[2] / "docs"
COMMAND = "python -m tests.benchmarks.charts"
OURS = {"LLM", "ChatMlxcel", "Mlxcel"}

COSTS = {
    "streaming": "µs for each piece of a stream",
    "many streams": "µs for each piece, with sixteen streams at once",
    "requests": "µs for a short request",
    "imports": "ms to import a class",
    "first answers": "ms from the start of a program to its first answer",
    "restarts": "s to the first token of a long prompt, after a restart of the engine",
    "conversations": "% of earlier prompts that are reused by two conversations in turns",
    "first signs": "s to the first sign of life while a long prompt is read",
    "guessing": "ms for each token of an answer",
    "batches": "s for 50 chats on each slot",
}
"""The tables of the page on performance that have a chart, and what is measured."""

WIDTH, ROW, BAR, PADDING = 480, 27, 23, 10

# Texts stand on colours of their own, with enough contrast: the page may be light or dark.
STYLE = """
    text { font: 14.5px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }
    text { fill: #fff }
    .ours { font-weight: 700 }
    .amount { text-anchor: end }
    rect { fill: #39434d }
    rect.bar { fill: #5d6975 }
    rect.least { fill: #4b555f }
    rect.ours { fill: #0b7285 }"""


class Bar(NamedTuple):
    """One row of a chart.

    Attributes:
        name: What it stands for.
        shown: Its figure as the table has it.
        part: Its length, as a part of the whole width.
        kind: ``"ours"``, ``"bar"`` for those of others, ``"least"`` for the unavoidable minimum.
    """

    name: str
    shown: str
    part: float
    kind: str


def costs(table: str) -> list[Bar]:
    """Return the bars of a table on the page on performance."""
    page = (DOCS / "performance.md").read_text("utf-8")
    text = page.partition(f"<!-- measured: {table} -->")[2].partition("<!-- end of")[0]
    rows = re.findall(r"^\| (.+?) \| ([\d.,]+) \|", text, re.MULTILINE)
    figures = [float(shown.replace(",", "")) for _, shown in rows]
    return [
        Bar(name.replace("`", ""), shown, figure / max(figures), kind(name))
        for (name, shown), figure in zip(rows, figures, strict=True)
    ]


def kind(name: str) -> str:
    """Return what a row of a table stands for: classes are set as code."""
    code = re.match(r"`(\w+)", name)
    if code is None:
        return "least"
    return "ours" if code[1] in OURS else "bar"


def answers() -> list[Bar]:
    """Return the bars of the comparison: how many of its questions are answered with yes."""
    page = (DOCS / "comparison.md").read_text("utf-8")
    heading, _, *rows = (line.strip("|").split("|") for line in re.findall(r"^\|.+", page, re.M))
    bars = []
    for column, name in enumerate(heading[1:], start=1):
        asked = [said for row in rows if (said := row[column].strip())]
        yes = asked.count("yes")
        shown = f"{yes} of {len(asked)}"
        bars.append(Bar(name.strip(" `"), shown, yes / len(asked), kind(name.strip())))
    return bars


def svg(title: str, bars: Sequence[Bar]) -> str:
    """Return a chart."""
    height = len(bars) * ROW - (ROW - BAR)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" role="img" aria-labelledby="title">',
        f'  <title id="title">{escape(title)}</title>',
        f"  <!-- Drawn by {COMMAND}. -->",
        f"  <style>{STYLE}\n  </style>",
    ]
    for number, bar in enumerate(bars):
        top, middle = number * ROW, number * ROW + BAR / 2 + 5
        weight = ' class="ours"' if bar.kind == "ours" else ""
        amount = "amount ours" if bar.kind == "ours" else "amount"
        lines += [
            f'  <rect y="{top}" width="{WIDTH}" height="{BAR}" rx="4"/>',
            f'  <rect class="{bar.kind}" y="{top}" width="{max(bar.part * WIDTH, 8):.1f}"'
            f' height="{BAR}" rx="4"/>',
            f'  <text{weight} x="{PADDING}" y="{middle}">{escape(bar.name)}</text>',
            f'  <text class="{amount}" x="{WIDTH - PADDING}" y="{middle}">{bar.shown}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


CHARTS = {
    DOCS / "images" / f"{table.replace(' ', '-')}.svg": (table, title)
    for table, title in {**COSTS, "comparison": "Questions that are answered with yes"}.items()
}
"""The file of each chart, with its table and its title."""


def drawn(file: Path) -> str:
    """Return a chart as the pages have its figures."""
    table, title = CHARTS[file]
    return svg(title, costs(table) if table in COSTS else answers())


def write() -> None:
    """Draw all charts."""
    for file in CHARTS:
        file.write_text(drawn(file), "utf-8")


if __name__ == "__main__":
    write()
