"""A release is published only if its tag, its version and its changelog agree."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.release import ROOT, main, notes

PROJECT = '[project]\nversion = "1.2.3"\n'
ENTRY = "# Changelog\n\n## 1.2.3 (2026-12-31)\n\n- New.\n- Mended.\n\n"
OLDER = "## 1.2.2 (2026-11-30)\n\n- Old.\n"


@pytest.mark.parametrize("changelog", [ENTRY, ENTRY + OLDER], ids=["first", "second"])
def test_the_notes_are_the_newest_entry(changelog: str) -> None:
    assert "- New.\n- Mended." == notes("v1.2.3", PROJECT, changelog)


@pytest.mark.parametrize(
    ("tag", "changelog", "expected"),
    [
        pytest.param(
            "v1.2.4", ENTRY, "The tag is v1.2.4, and pyproject.toml says 1.2.3", id="another tag"
        ),
        pytest.param(
            "1.2.3", ENTRY, "The tag is 1.2.3, and pyproject.toml says 1.2.3", id="without v"
        ),
        pytest.param("v1.2.3", OLDER, "does not begin with 1.2.3: add its entry", id="no entry"),
        pytest.param("v1.2.3", "# Changelog\n", "does not begin with 1.2.3", id="empty"),
        pytest.param(
            "v1.2.3",
            ENTRY.replace("2026-12-31", "unreleased"),
            "1.2.3 (unreleased): write the date of the release",
            id="no date",
        ),
        pytest.param(
            "v1.2.3",
            "# Changelog\n\n## 1.2.3 (2026-12-31)\n\n" + OLDER,
            "says nothing about 1.2.3",
            id="no text",
        ),
    ],
)
def test_what_does_not_agree_is_named(tag: str, changelog: str, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        notes(tag, PROJECT, changelog)


def test_the_command_says_what_to_change() -> None:
    assert "The tag is v0.0.0, and pyproject.toml says " in (main("v0.0.0") or "")


def test_the_workflow_checks_before_it_publishes() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    commands = [step["run"] for step in build["steps"] if "run" in step]

    assert ['python -m tests.release "$GITHUB_REF_NAME" >notes.md', "bash .ci/run"] == commands
    assert "build" == publish["needs"]
    assert "write" == publish["permissions"]["id-token"]
    assert {"contents": "read"} == workflow["permissions"]
