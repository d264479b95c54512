"""Hooks of MkDocs: pages for the notebooks, weights for the search, help for screen readers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

FOLDER = Path(__file__).parent

INDENTED_OUTPUT = re.compile(r"^```\n\n+(?= {4})((?:(?: {4}.*)?\n)+)", re.MULTILINE)

WEIGHTS = {
    # What many other pages mention has a page of its own.
    "install.md": 2.2,
    **dict.fromkeys(("embedded.md", "structured-output.md", "tools.md"), 1.4),
    **dict.fromkeys(("chat.md", "core.md", "llama-index.md"), 1.3),
    # Messages are searched for, and their words are in other pages as well.
    "troubleshooting.md": 1.2,
    # Lists come after explanations.
    **dict.fromkeys(("changelog.md", "contributing.md", "performance.md"), 0.3),
    **dict.fromkeys(("project", "reference", "notebooks", "ko"), 0.3),
}
"""Weights of pages and folders in the search, where they are not 1."""

GALLERY = """# Notebooks

Each was run from top to bottom with the small built-in model, and is shown with its outputs.
The files are in the folder `notebooks` of a clone.

<div class="grid cards" markdown>

{cards}
</div>
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each notebook, its pictures, and the gallery."""
    cards = []
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        page, pictures = page_of(notebook, path.stem)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page))
        for name, data in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=data))
        cards.append(card(notebook, path.stem, next(iter(pictures), None)))
    gallery = GALLERY.format(cards="\n".join(cards))
    files.append(File.generated(config, "notebooks/index.md", content=gallery))
    return files


def page_of(notebook: Any, name: str) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and the pictures in it by their names."""
    resources = {"unique_key": name, "output_files_dir": "."}
    text, resources = MarkdownExporter().from_notebook_node(notebook, resources)
    pictures = {Path(file).name: data for file, data in resources["outputs"].items()}
    # Links of a notebook lead to files of the repository, those of a page to pages.
    text = text.replace("](../docs/", "](../").replace(".ipynb)", ".md)")
    text = re.sub(r"!\[png\]\((?:\./)?", "![What this cell draws](", text)
    return as_output(text), pictures


def as_output(text: str) -> str:
    """Return Markdown with fenced outputs, which nbconvert indents."""

    def fenced(found: re.Match[str]) -> str:
        lines = [line.removeprefix("    ").rstrip() for line in found[1].splitlines()]
        output = "\n".join(lines).strip("\n")
        return f"```\n\n```{{ .text .output }}\n{output}\n```\n"

    return INDENTED_OUTPUT.sub(fenced, text)


def card(notebook: Any, name: str, picture: str | None) -> str:
    """Return what the gallery shows of a notebook: its title, first picture and first sentence."""
    title, _, about = notebook.cells[0].source.partition("\n")
    sentence = re.split(r"(?<=[.?]) ", " ".join(about.split()))[0]
    lines = [f"-   [**{title.lstrip('# ')}**]({name}.md)", sentence]
    if picture:
        lines.insert(1, f"[![A picture from this notebook]({picture})]({name}.md)")
    return "\n\n    ".join(lines) + "\n"


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Weigh a page for the search."""
    name, folder = page.file.src_uri, page.file.src_uri.partition("/")[0]
    if weight := WEIGHTS.get(name) or WEIGHTS.get(folder):
        page.meta.setdefault("search", {"boost": weight})
    return markdown


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Tell screen readers the name of the search dialog, and the language of Korean pages."""
    output = output.replace('role="dialog">', 'role="dialog" aria-label="Search">', 1)
    korean = page.file.src_uri.startswith("ko/")
    return output.replace('<html lang="en"', '<html lang="ko"', 1) if korean else output
