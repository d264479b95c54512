"""The project's own files agree with each other."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest
import yaml

import mlxcel_integrations
from tests.__main__ import main
from tests.parts import ALONE, LONG, SPEED, TIMED, is_timed, may_have, part_of

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
WORKFLOWS = [str(path.relative_to(ROOT)) for path in sorted((ROOT / ".github").rglob("*.yml"))]


def test_the_version_is_the_same_everywhere() -> None:
    newest_entry = re.search(r"^## (\S+)", (ROOT / "docs/changelog.md").read_text(), re.MULTILINE)

    assert newest_entry is not None
    assert newest_entry[1] == PROJECT["version"]
    assert metadata.version("mlxcel-integrations") == PROJECT["version"]
    assert mlxcel_integrations.__version__ == PROJECT["version"]
    assert f"Version {PROJECT['version']} " in (ROOT / "mkdocs.yml").read_text()


def test_the_extra_all_is_the_sum_of_the_others() -> None:
    extras = dict(PROJECT["optional-dependencies"])
    everything = extras.pop("all")
    # Large, and not for every machine.
    extras.pop("ray")

    assert sorted(chain.from_iterable(extras.values())) == sorted(everything)


def test_declared_pythons_are_the_tested_ones() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    tested = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    declared = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))

    assert declared == tested
    assert PROJECT["requires-python"] == f">={tested[0]}"


def make_targets_named_in(path: str) -> set[str]:
    """Only commands: alone on a line, in backquotes, or a step; prose says "make sure" too."""
    line = r"^\s*(?:\$ )?make ([a-z-]+)(?=\s*$|\s+#|\s+[A-Z_]+=)"
    step = r"(?:`|run: |' |\": \")make ([a-z-]+)"
    found = re.findall(f"{line}|{step}", (ROOT / path).read_text(), re.MULTILINE)
    return {target for pair in found for target in pair if target}


@pytest.mark.parametrize(
    "path",
    ["README.md", ".ci/run", *WORKFLOWS, ".devcontainer/devcontainer.json"]
    + [str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs").glob("*.md"))],
)
def test_every_make_command_shown_or_run_exists(path: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))

    assert set() == make_targets_named_in(path) - targets


def test_the_readme_shows_the_two_commands() -> None:
    assert {"demo", "test"} <= make_targets_named_in("README.md")


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    phony = re.search(r"^\.PHONY: (.+)", MAKEFILE, re.MULTILINE)

    assert phony is not None
    assert sorted(phony[1].split()) == sorted(
        re.findall(r"^  make (\S+)", shown.stdout, re.MULTILINE)
    )


@pytest.mark.parametrize("name", LONG + ALONE + TIMED + SPEED)
def test_the_lists_of_tests_name_what_exists(name: str) -> None:
    path, _, test = name.partition("::")

    assert (ROOT / path).exists()
    function = test.partition("[")[0]
    assert not test or f"def {function}" in (ROOT / path).read_text()
    # Else its file would not even be read.
    assert may_have(path, part_of(name))
    assert may_have("tests", part_of(name))


def test_only_what_compares_times_is_tried_again() -> None:
    assert is_timed("tests/client/test_slots.py::test_the_line_is_fair[sync]")
    assert not is_timed("tests/test_project.py::test_the_version_is_the_same_everywhere")


def test_what_is_in_no_list_shares_the_machine() -> None:
    assert "together" == part_of("tests/test_project.py::test_the_version_is_the_same_everywhere")
    assert "alone" == part_of("tests/scaling/test_hosts.py::test_a_slow_server_gets_less")
    assert "long" == part_of("tests/faults/test_kernels.py::test_the_server_ends_with_the_kernel")
    assert "long-alone" == part_of("tests/scaling/test_throughput.py::test_eight_servers[Nginx]")


@pytest.mark.parametrize(
    ("arguments", "expected"), [([], ["together", "alone"]), (["--long"], ["long", "long-alone"])]
)
def test_both_halves_of_the_tests_share_the_machine_first(
    arguments: list[str], expected: list[str]
) -> None:
    runs: list[tuple[str, ...]] = []

    def run(*given: str) -> int:
        runs.append(given)
        return 0

    main([*arguments, "-k", "stream"], run=run)

    assert expected == [run[1] for run in runs]
    assert [("-k", "stream")] * 2 == [run[-2:] for run in runs]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        pytest.param([0, 0], 0, id="all pass"),
        pytest.param([1, 0], 1, id="the first part fails, the second one runs"),
        pytest.param([0, 1], 1, id="the second part fails"),
        pytest.param([5, 0], 0, id="all that is selected is alone"),
        pytest.param([0, 5], 0, id="nothing that is selected is alone"),
        pytest.param([1, 5], 1, id="nothing that is selected is alone, and it fails"),
        pytest.param([5, 5], 5, id="nothing is selected"),
        pytest.param([2], 2, id="the first part is stopped"),
        pytest.param([-9], -9, id="the first part is killed"),
        pytest.param([0, 2], 2, id="the second part is stopped"),
    ],
)
def test_both_parts_of_the_tests_have_one_exit_status(statuses: list[int], expected: int) -> None:
    left = iter(statuses)

    assert expected == main(["-k", "stream"], run=lambda *arguments: next(left))
    assert [] == list(left)


@pytest.mark.parametrize(
    ("statuses", "tried_again", "expected"),
    [
        pytest.param([0, 0], [False, False], 0, id="nothing fails"),
        pytest.param([1, 0, 0], [False, True, False], 0, id="what fails passes then"),
        pytest.param([1, 1, 0], [False, True, False], 1, id="what fails fails again"),
        pytest.param([0, 1, 0], [False, False, True], 0, id="what fails in the second part passes"),
        pytest.param([2], [False], 2, id="what was stopped is not tried again"),
    ],
)
def test_what_fails_is_tried_twice_where_that_is_asked_for(
    statuses: list[int], tried_again: list[bool], expected: int
) -> None:
    left = iter(statuses)
    found: list[bool] = []

    def run(*arguments: str) -> int:
        found.append("--last-failed" == arguments[-1])
        return next(left)

    assert expected == main(["--twice", "-k", "stream"], run=run)
    assert tried_again == found


def test_the_lock_file_names_no_package_index() -> None:
    """A lock made behind a mirror would carry its address to everybody."""
    packages = tomllib.loads((ROOT / "poetry.lock").read_text())["package"]

    assert [] == [package["name"] for package in packages if "source" in package]


class TestWithoutAGoodPython:
    def make_venv(self, folder: Path, answers: str) -> subprocess.CompletedProcess[str]:
        """Run .ci/make-venv where the only `python3` is a script of these shell lines."""
        python = folder / "bin" / "python3"
        python.parent.mkdir()
        python.write_text(f"#!/bin/sh\n{answers}\n")
        python.chmod(0o755)
        (python.parent / "cat").symlink_to("/bin/cat")
        return subprocess.run(
            [ROOT / ".ci/make-venv", folder / "venv"],
            env={**os.environ, "PATH": str(python.parent), "PYTHON": ""},
            capture_output=True,
            text=True,
            check=False,
        )

    def test_an_old_one_is_named_with_the_way_out(self, tmp_path: Path) -> None:
        ended = self.make_venv(
            tmp_path, 'case "$2" in *platform*) echo 3.9.18 ;; *version_info*) exit 1 ;; esac'
        )

        assert 1 == ended.returncode
        assert "python3 is Python 3.9.18\n" in ended.stderr
        assert "brew install python@" in ended.stderr
        assert not (tmp_path / "venv").exists()

    def test_one_without_venv_is_told_apart(self, tmp_path: Path) -> None:
        ended = self.make_venv(
            tmp_path, 'case "$2" in *platform*) echo 3.12.1 ;; *ensurepip*) exit 1 ;; esac'
        )

        assert 1 == ended.returncode
        assert "python3 is Python 3.12.1, but its venv module is missing" in ended.stderr

    def test_none_at_all_lists_what_was_tried(self, tmp_path: Path) -> None:
        ended = self.make_venv(tmp_path, "exit 127")

        assert 1 == ended.returncode
        assert "no Python that runs as: python3 python3.14" in ended.stderr
