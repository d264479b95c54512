"""Check of a release: its tag, its version and its changelog agree.

`python -m tests.release v1.2.3` prints what the changelog says of it, or what has to be changed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENTRY = re.compile(r"^## (?P<version>\S+) \((?P<date>[^)]*)\)\n", re.MULTILINE)


def notes(tag: str, project: str, changelog: str) -> str:
    """Return the newest entry of the changelog.

    Args:
        tag: The tag of the release, such as ``v1.2.3``.
        project: The text of ``pyproject.toml``.
        changelog: The text of ``docs/changelog.md``.

    Raises:
        ValueError: If the three do not name the same version, or the entry has no date or no text.
    """
    version = tomllib.loads(project)["project"]["version"]
    if tag != f"v{version}":
        raise ValueError(f"The tag is {tag}, and pyproject.toml says {version}: change one of them")
    entry = ENTRY.search(changelog)
    if entry is None or entry["version"] != version:
        raise ValueError(f"docs/changelog.md does not begin with {version}: add its entry")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", entry["date"]):
        raise ValueError(
            f"docs/changelog.md says {version} ({entry['date']}): write the date of the release, "
            "as in 2026-12-31"
        )
    text = re.split(r"^## ", changelog[entry.end() :], maxsplit=1, flags=re.MULTILINE)[0].strip()
    if not text:
        raise ValueError(f"docs/changelog.md says nothing about {version}")
    return text


def main(tag: str) -> str | None:
    """Print the notes of a release; return what is wrong with it."""
    try:
        print(
            notes(
                tag,
                (ROOT / "pyproject.toml").read_text(),
                (ROOT / "docs" / "changelog.md").read_text(),
            )
        )
    except ValueError as error:
        return f"{error}."
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
