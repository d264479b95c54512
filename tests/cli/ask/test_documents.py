"""Each kind of document becomes passages with their places; broken ones say what to do."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest

from mlxcel_integrations.cli.ask import documents
from mlxcel_integrations.cli.ask.documents import Unreadable, is_binary, read_document
from mlxcel_integrations.cli.ask.store import Store
from tests.cli.ask.conftest import pdf

HTML = b"""<!DOCTYPE html><html><head><title>Skarvik</title><style>p {}</style></head><body>
<nav>Home</nav><h1>The lighthouse</h1><p>It is <b>32 metres</b> tall.</p>
<script>alert("no text")</script><h2>Boats</h2><table><tr><td>ferries</td><td>6</td></tr></table>
</body></html>"""

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def word(body: str, **others: str) -> bytes:
    """Return a Word document."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="xml" ContentType="application/xml"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            '<Relationship Id="r" Target="word/document.xml" Type="http://schemas.openxmlformats.'
            'org/officeDocument/2006/relationships/officeDocument"/></Relationships>',
        )
        archive.writestr(
            "word/document.xml", f"<w:document {W}><w:body>{body}</w:body></w:document>"
        )
        for name, text in others.items():
            archive.writestr(name, text)
    return file.getvalue()


def paragraph(text: str, style: str = "") -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


REPORT = word(
    paragraph("The lighthouse", "Heading1")
    + paragraph("It is 32 metres tall.")
    + f"<w:tbl><w:tr><w:tc>{paragraph('ferries')}</w:tc>"
    + f"<w:tc>{paragraph('6')}</w:tc></w:tr></w:tbl>"
)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "ask.sqlite3")) as store:
        yield store


@pytest.mark.parametrize(
    ("name", "content", "places", "text"),
    [
        ("a.docx", REPORT, ['"The lighthouse"'], "It is 32 metres tall."),
        ("no-suffix", REPORT, ['"The lighthouse"'], "ferries: 6"),
        ("a.html", HTML, ["the beginning", '"The lighthouse"', '"Boats"'], "**32 metres** tall"),
        ("standard input", HTML, ["the beginning", '"The lighthouse"', '"Boats"'], "ferries: 6"),
        ("a.csv", b"item,price\nbun,3\nroll,1\n", ["row 1"], "item: bun; price: 3"),
        ("a.json", b'[{"item": "bun", "price": 3}]', ["item 1"], "item: bun; price: 3"),
        ("a.jsonl", b'{"item": "bun"}\n{"item": "roll"}\n', ["item 1"], "item: roll"),
        ("broken.json", b'{"item": "bun",', ["line 1"], '{"item": "bun",'),
        ("deep.json", b"[" * 99_000, [f"line {1}"] * 165, "[[["),
        ("a.py", b"def f():\n    return 32\n", ["line 1"], "    return 32"),
        ("notes", "Größe: 32 m".encode("cp1252"), ["line 1"], "Größe: 32 m"),
        ("a.log", b"done\a\nx\bok", ["line 1"], "done\a\nx\bok"),
        ("a.md", b"# Boats\n\nSix.", ['"Boats"'], "Six."),
        ("a.pdf", pdf("One.", "Two."), ["page 1", "page 2"], "Two."),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 15 else "",
)
def test_a_document_becomes_passages(
    name: str, content: bytes, places: list[str], text: str, kept: Store
) -> None:
    passages = read_document(name, content, kept)

    assert places == [passage.place for passage in passages]
    assert any(text in passage.text for passage in passages)
    assert not any("alert" in passage.text for passage in passages)
    assert passages == read_document(name, content, kept)


def cells(*rows: str, tag: str = "td") -> str:
    """Return rows of a table, whose values are separated by commas."""
    marked = [[f"<{tag}>{value}</{tag}>" for value in row.split(",")] for row in rows]
    return "".join(f"<tr>{''.join(row)}</tr>" for row in marked)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (
            f"<caption>Ships</caption>{cells('ship,pier', tag='th')}{cells('Aurora,3', 'Vega,1')}",
            "Ships\n\nship: Aurora; pier: 3\n\nship: Vega; pier: 1",
        ),
        (cells("ship,pier,year", "Aurora,3,1931"), "ship: Aurora; pier: 3; year: 1931"),
        (cells("ship,Aurora", "pier,3"), "ship: Aurora\n\npier: 3"),
        (cells("menu,<ul><li>the page</li></ul>"), "| menu | * the page |"),
        (cells("one", "two"), "| one |\n| two |"),
    ],
    ids=["headings", "three columns", "two columns", "layout", "one column"],
)
def test_rows_of_a_page_have_the_names_of_their_columns(table: str, text: str, kept: Store) -> None:
    (passage,) = read_document("a.html", f"<p>x</p><table>{table}</table>".encode(), kept)

    assert passage.text.endswith(text)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.docx", b"no archive", "it is not a valid Word document"),
        ("a.docx", REPORT[:300], "it is not a valid Word document"),
        ("a.docx", word("<w:p>"), "it is not a valid Word document"),
        ("a.docx", word(""), "it has images but no text"),
        ("a.docx", word("", bomb="0" * 3000), "it is larger than"),
        ("a.html", b"<img src=x>", "it has images but no text"),
        ("a.html", b"<div>" * 20_000, "it is not a valid HTML page"),
        ("a.xlsx", b"PK\x03\x04\x00\x00", "it is neither text nor a document"),
        ("a.txt", "灯台の高さはメートルで".encode("shift_jis"), "its text is not in UTF-8"),
        ("a.md", "# Маяк".encode("koi8-r"), "its text is not in UTF-8"),
    ],
)
def test_a_document_without_text_says_why(
    name: str, content: bytes, reason: str, kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MAX_FILE_BYTES", 2500)

    with pytest.raises(Unreadable, match=reason):
        read_document(name, content, kept)


def test_a_picture_outside_of_a_word_document_is_not_opened(kept: Store, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    blip = (
        '<w:drawing><a:blip xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
        'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" '
        'r:link="rId9"/></w:drawing>'
    )
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="rId9" Type="image" TargetMode="External" Target="file://{tmp_path}'
        '/secret.txt"/></Relationships>'
    )
    content = word(
        f"<w:p><w:r>{blip}<w:t>Text.</w:t></w:r></w:p>",
        **{"word/_rels/document.xml.rels": relations},
    )

    assert not any("secret" in p.text for p in read_document("a.docx", content, kept))


@pytest.mark.parametrize(
    ("name", "start", "binary"),
    [
        ("a.txt", b"text \x1b[31m", False),
        ("a.txt", b"\xff\xfet\x00", False),
        ("a.png", b"\x89PNG\r\n\x1a\n\x00", True),
        ("a.zip", b"PK\x03\x04\x14\x00", True),
        ("a.docx", b"PK\x03\x04\x14\x00", False),
        ("a", b"%PDF-1.7\x00", False),
        ("a", b"", False),
    ],
)
def test_binary_files_are_known_by_their_beginning(name: str, start: bytes, binary: bool) -> None:
    assert binary == is_binary(name, start)
