"""The Korean pages, and the originals that they were translated from.

`python -m tests.korean` notes in each page that it fits its original of today: translate first what
has changed. Examples are those of the original, so they are brought up to date by the command.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from tests.pages import DOCS, FENCE, examples

COMMAND = "python -m tests.korean"
PAGES = sorted((DOCS / "ko").glob("*.md"))
HEAD = re.compile(r"\A---\noriginal: (?P<original>\S+)\nhash: (?P<hash>\w+)\n---\n")


def original(page: Path) -> Path:
    """Return the page that a page translates."""
    return DOCS / _head(page)["original"]


def noted_hash(page: Path) -> str:
    """Return the hash of the original when it was translated."""
    return _head(page)["hash"]


def current_hash(page: Path) -> str:
    """Return the hash of the original as it is, without what its examples print."""
    text = FENCE.sub(lambda found: found["code"], original(page).read_text())
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def strangers(page: Path) -> list[str]:
    """Return the examples of a page that are not in its original, with the same output."""
    theirs = {(example.code, example.output) for example in examples(original(page))}
    ours = examples(page)
    return [example.code for example in ours if (example.code, example.output) not in theirs]


def up_to_date(page: Path) -> str:
    """Return a page with the hash of its original, and with the outputs in it."""
    outputs = {example.code: example.output for example in examples(original(page))}

    def block(found: re.Match[str]) -> str:
        output = outputs.get(found["code"])
        code = f"```python\n{found['code']}```\n"
        return f"{code}\n```{{ .text .output }}\n{output}```\n" if output else code

    text = FENCE.sub(block, page.read_text())
    return text.replace(f"hash: {noted_hash(page)}", f"hash: {current_hash(page)}", 1)


def _head(page: Path) -> re.Match[str]:
    found = HEAD.match(page.read_text())
    assert found is not None, f"{page} does not begin with its original and a hash"
    return found


if __name__ == "__main__":
    for korean in PAGES:
        korean.write_text(up_to_date(korean))
