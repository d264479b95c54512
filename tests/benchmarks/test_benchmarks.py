"""The benchmarks run, find out who takes too much, and have their places in the page."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks import charts
from tests.benchmarks.__main__ import PARTS, TRIES, check
from tests.benchmarks.page import PAGE, conditions, markdown, plain, put
from tests.benchmarks.part import Part
from tests.benchmarks.rounds import medians

ROOT = Path(__file__).parents[2]


def part(*turns: float) -> Part:
    """A part whose floor takes a second, and we in each turn so many."""
    left: Iterator[float] = iter(turns)
    return Part(
        "reading",
        "ms",
        1e3,
        lambda rounds, peers: {"floor": 1.0, "we": next(left)},
        {"we": ("floor",)},
        {"we": 1.5},
    )


def test_whoever_takes_too_much_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert not check([part(*[1.8] * TRIES)], rounds=1)

    line = "reading: we takes 1.80 times its floor, more than 1.5\n"
    assert line * TRIES == capsys.readouterr().out


def test_a_busy_machine_gets_another_try() -> None:
    assert check([part(1.8, 1.4)], rounds=1)


def test_a_table_shows_figures_and_what_they_are_compared_with() -> None:
    cells = part().cells({"floor": 0.02, "we": 0.125})

    assert [["Client", "ms", "Compared"], ["floor", "20.0", ""], ["we", "125", "6.25"]] == cells
    assert "| we | 125 | 6.25 |" in markdown(cells)
    assert "  we       125      6.25" in plain(cells)


@pytest.mark.parametrize("file", charts.CHARTS, ids=lambda file: file.stem)
def test_a_chart_shows_the_figures_of_the_page(file: Path) -> None:
    drawn = charts.drawn(file)

    assert drawn == file.read_text("utf-8"), f"run `{charts.COMMAND}`"
    assert '<rect class="ours"' in drawn
    assert f"](images/{file.name})" in "".join(
        page.read_text("utf-8") for page in charts.DOCS.glob("*.md")
    )


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("httpx and json", "least"),
        ("`ChatMlxcel`", "ours"),
        ("`ChatMlxcel.abatch`, 2 slots", "ours"),
        ("`ChatOpenAI.abatch`, 2 slots", "bar"),
        ("`MlxcelOther`", "bar"),
    ],
)
def test_a_row_is_ours_if_it_begins_with_a_class_of_ours(row: str, kind: str) -> None:
    assert kind == charts.kind(row)


def test_clients_take_turns_and_the_median_counts() -> None:
    order, now = [], 0.0
    lasts = {"quick": iter([9.0, 2.0, 1.0, 8.0]), "slow": iter([9.0, 5.0, 7.0, 6.0])}

    def work(name: str) -> None:
        nonlocal now
        order.append(name)
        now += next(lasts[name])

    clients = {name: lambda name=name: work(name) for name in lasts}

    assert {"quick": 2.0, "slow": 6.0} == medians(clients, 3, clock=lambda: now)
    assert ["quick", "slow"] * 4 == order


@pytest.mark.parametrize("name", ["conditions", *PARTS])
def test_the_page_has_a_place_for_each_table(name: str) -> None:
    text = PAGE.read_text()

    assert "\nfigures\n" in put(text, name, "figures")
    assert text == put(put(text, name, "figures"), name, between(text, name))


def between(text: str, name: str) -> str:
    found = re.search(f"(?s)<!-- measured: {name} -->\n(.*)<!-- end of {name} -->", text)
    assert found is not None
    return found[1].strip()


def test_a_page_without_the_marks_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"needs the lines <!-- measured: streaming -->"):
        put("# Performance", "streaming", "figures")


def test_it_is_told_when_and_with_what_it_was_measured() -> None:
    assert re.search(r"on \d\d \w+ 20\d\d: .+ cores, .+ 9 rounds\. With httpx 0", conditions(9))


def test_a_part_runs_from_the_command_line() -> None:
    """Short: one round, and none of the others."""
    command = [sys.executable, "-m", "tests.benchmarks", "--rounds", "1", "--parts", "requests"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert 0 == ran.returncode, ran.stderr
    assert all(name in ran.stdout for name in ("`LLM`", "`ChatMlxcel`", "`Mlxcel`"))
