"""Documents as passages: text, code, Markdown, PDF, Word, HTML, CSV and JSON."""

from __future__ import annotations

import codecs
import csv
import hashlib
import logging
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from .passages import Passage, cut_lines, cut_markdown, cut_pages, cut_records, cut_text
from .store import Store
from .tables import csv_records, json_records, records

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

__all__ = ["MAX_FILE_BYTES", "Unreadable", "is_binary", "is_table", "read_document"]

MAX_FILE_BYTES = 100_000_000
"""Bytes of a file; a larger one is likely a mistake, and may not fit into memory."""

_LONG_TEXT = 1_000_000
"""Characters of a text; a longer one is likely a log, and is cut between lines."""

_MARKDOWN = {".md", ".markdown"}
_PROSE = {"", ".txt", ".text", ".rst", ".adoc", ".org", ".tex"}
_HTML = {".html", ".htm", ".xhtml"}
_CSV = {".csv", ".tsv"}
_JSON = {".json", ".jsonl", ".ndjson"}

# Texts have none of these, and nearly every binary file has a zero byte. Logs may ring the bell
# (7), move back (8) and set colours (27).
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x06\x0e-\x1a\x1c-\x1f]")
_NON_LETTERS = bytes(byte for byte in range(128) if not chr(byte).isalpha())
_SAMPLE_BYTES = 10_000
"""Number of bytes that show which alphabet a text is in."""

_BYTE_ORDER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_PDF, _ZIP = b"%PDF-", b"PK\x03\x04"

_LAYOUT_TAGS = ["table", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "pre"]
"""Tags within a table that show that it lays out a page, and does not hold data."""


class Unreadable(Exception):
    """No text can be read from a file; the message says why, and what to do."""


def read_document(name: str, content: bytes, store: Store) -> list[Passage]:
    """Return the passages of a file.

    Args:
        name: Its path, whose suffix says how to read it if the content does not.
        content: Its bytes.
        store: Where texts that are slow to extract are kept.

    Raises:
        Unreadable: It has no text that can be read.
    """
    if not content.strip():
        raise Unreadable("it is empty")
    suffix = Path(name).suffix.lower()
    if suffix == ".pdf" or content.startswith(_PDF):
        return cut_pages(name, _extracted_once(_pdf_pages, content, store))
    if suffix == ".docx" or _is_word(content):
        return cut_markdown(name, _extracted_once(_word_markdown, content, store)[0])
    text = _text(content)
    if suffix in _HTML or re.match(r"\s*<(!doctype html|html)\b", text, re.IGNORECASE):
        return cut_markdown(name, _extracted_once(_html_markdown, content, store)[0])
    if suffix in _MARKDOWN:
        return cut_markdown(name, text)
    try:
        if suffix in _CSV:
            return cut_records(name, "row", csv_records(text))
        if suffix in _JSON:
            return cut_records(name, "item", json_records(text))
    except (ValueError, RecursionError, csv.Error):
        # A file that breaks its format is still a text.
        return cut_lines(name, text)
    is_prose = suffix in _PROSE and len(text) <= _LONG_TEXT
    return cut_text(name, text) if is_prose else cut_lines(name, text)


def is_binary(name: str, start: bytes) -> bool:
    """Return whether a file can be skipped: by its name and first bytes, it has no text."""
    if Path(name).suffix.lower() in {".pdf", ".docx"} or start.startswith(_PDF):
        return False
    return not start.startswith(_BYTE_ORDER_MARKS) and bool(
        _CONTROL_CHARACTERS.search(start.decode("latin1"))
    )


def is_table(passage: Passage) -> bool:
    """Return whether a passage has rows of a table."""
    return Path(passage.source).suffix.lower() in _CSV | _JSON


def _text(content: bytes) -> str:
    """Decode UTF-8, else UTF-16 with a byte order mark, else Windows-1252 if that may be it."""
    encoding = "utf-16" if content.startswith(_BYTE_ORDER_MARKS) else "utf-8-sig"
    try:
        text, is_certain = content.decode(encoding), True
    except UnicodeDecodeError:
        text, is_certain = content.decode("cp1252", "replace"), False
    if _CONTROL_CHARACTERS.search(text):
        raise Unreadable("it is neither text nor a document that can be read. Convert it first")
    if not is_certain and _is_mostly_beyond_ascii(content):
        raise Unreadable("its text is not in UTF-8. Save it in UTF-8 first")
    return text


def _is_mostly_beyond_ascii(content: bytes) -> bool:
    """Return whether a text is in an alphabet that Windows-1252 lacks, such as Cyrillic."""
    letters = content.translate(None, _NON_LETTERS)[:_SAMPLE_BYTES]
    return 3 * sum(byte > 127 for byte in letters) > len(letters)


def _extracted_once(
    extract: Callable[[bytes], list[str]], content: bytes, store: Store
) -> list[str]:
    """Return the text of a document, which is slow to extract and therefore kept."""
    key = hashlib.sha256(extract.__name__.encode() + content).digest()
    pages = store.pages(key)
    if pages is None:
        pages = extract(content)
        store.keep_pages(key, pages)
    return pages


def _pdf_pages(content: bytes) -> list[str]:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError

    # pypdf logs each flaw of a file, even if it can read the file.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        pages = [page.extract_text() for page in PdfReader(BytesIO(content)).pages]
    except FileNotDecryptedError:
        reason = "it is protected by a password. Save a copy without one"
        raise Unreadable(reason) from None
    except DependencyError:
        raise Unreadable("it is encrypted. Run: pip install 'pypdf[crypto]'") from None
    except Exception as error:  # noqa: BLE001 - a broken file may break any part of the reader
        raise _invalid_file("PDF", error) from None
    return _require_text(pages)


def _word_markdown(content: bytes) -> list[str]:
    import mammoth

    try:
        _check_size_unpacked(content)
        # Pictures are left out; those outside of the document are not even opened.
        html = mammoth.convert_to_html(
            BytesIO(content), convert_image=mammoth.images.img_element(lambda image: {"src": ""})
        ).value
    except Unreadable:
        raise
    except Exception as error:  # noqa: BLE001 - a broken file may break any part of the reader
        raise _invalid_file("Word document", error) from None
    return _html_markdown(html.encode())


def _html_markdown(content: bytes) -> list[str]:
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    try:
        with warnings.catch_warnings():
            # BeautifulSoup warns about input that a programmer may have passed by mistake.
            warnings.simplefilter("ignore")
            page = BeautifulSoup(content, "html.parser")
        for hidden in page(["script", "style", "template", "noscript", "img", "svg", "nav"]):
            hidden.decompose()
        _spell_out_tables(page)
        text = MarkdownConverter(heading_style="ATX", strip=["a"]).convert_soup(page)
    except Exception as error:  # noqa: BLE001 - a broken file may break any part of the reader
        raise _invalid_file("HTML page", error) from None
    return _require_text([re.sub(r"\n{3,}", "\n\n", text).strip()])


def _spell_out_tables(page: BeautifulSoup) -> None:
    """Replace each table by a paragraph for each row, which is understood without the others."""
    for table in page("table"):
        if not table(_LAYOUT_TAGS) and (rows := [*_rows(table)]):
            paragraphs = [page.new_tag("p", string=row) for row in rows]
            table.replace_with(*table("caption"), *paragraphs)


def _rows(table: Tag) -> Iterator[str]:
    """Yield the rows of a table; of two columns without headings, the first one has the names."""
    rows = [row(["th", "td"]) for row in table("tr")]
    texts = [[cell.get_text(" ", strip=True) for cell in row] for row in rows]
    if not texts or len(texts[0]) < 2:
        return
    is_headed = len(texts[0]) > 2 or all(cell.name == "th" for cell in rows[0])
    yield from records(texts) if is_headed else (": ".join(filter(None, row)) for row in texts)


def _is_word(content: bytes) -> bool:
    return content.startswith(_ZIP) and b"word/document.xml" in content


def _check_size_unpacked(content: bytes) -> None:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_FILE_BYTES:
            raise Unreadable(f"it is larger than {MAX_FILE_BYTES // 1_000_000} MB. Split it")


def _invalid_file(kind: str, error: Exception) -> Unreadable:
    first = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
    return Unreadable(f"it is not a valid {kind} ({first}). Save it again")


def _require_text(pages: Sequence[str]) -> list[str]:
    if not any(page.strip() for page in pages):
        raise Unreadable("it has images but no text. Run text recognition (OCR) on it first")
    return list(pages)
