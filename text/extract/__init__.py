"""From a file to its text, as the chunkers understand it: a heading is ``# Title``, a page begins with a form feed,
a table is markdown's. Each kind of file has a reader of its own, and the library of each is loaded when it is needed.
"""

from __future__ import annotations

from dataclasses import replace

from errors import Unreadable
from text.extract.base import Bounds, ExtractedText, Ocr, check_chars
from text.extract.kinds import (
    ARCHIVE,
    CSV,
    DOCX,
    EML,
    EPUB,
    HEAD_BYTES,
    HTML,
    JSON,
    MARKDOWN,
    PDF,
    PPTX,
    RST,
    TEXT,
    TSV,
    XLSX,
    Kind,
    charset_of,
    kind_of,
    kind_of_archive,
)
from text.extract.plain import decode
from text.hashing import UNFIT_FOR_A_LINE, storable

EXTRACTION = 1
"""Raised when files are read otherwise than before: what is sent again is then read again."""

LONGEST_TITLE = 1000
PLAIN = {TEXT: "default", RST: "default", MARKDOWN: "markdown", CSV: "table", TSV: "table"}
"""The kinds that are text as they stand, each with the way of chunking that fits it."""


def extract(
    content: bytes, filename: str, *, bounds: Bounds, declared: str = "", ocr: Ocr | None = None
) -> ExtractedText:
    """The text of a file. *declared* is the content type that its sender gave, "" where none was given.

    Raises Unreadable, in words for whoever sent it, also where it has no text at all.
    """
    kind = kind_of(content[:HEAD_BYTES], filename, declared)
    try:
        if kind is ARCHIVE or kind.part:
            kind = kind_of_archive(content)
        found = _read(kind, content, charset_of(declared), bounds=bounds, ocr=ocr)
    except (Unreadable, MemoryError):
        raise
    except Exception as error:
        if "memory" in str(error).lower():  # lxml has words of its own for it
            raise MemoryError from error
        raise Unreadable(f"It is damaged, or not really {kind.name}: it cannot be read.") from error
    check_chars(len(found.text), bounds.chars)
    if not found.text.strip():
        raise Unreadable("It has no text: there is nothing to search for in it.")
    return _storable(found)


def _storable(found: ExtractedText) -> ExtractedText:
    """Without the characters that no database keeps; a title is one line and not a book."""
    title = UNFIT_FOR_A_LINE.sub("", found.title or "").strip()[:LONGEST_TITLE]
    warnings = tuple(map(storable, found.warnings))
    return replace(found, text=storable(found.text), title=title or None, warnings=warnings)


def _read(kind: Kind, content: bytes, charset: str | None, *, bounds: Bounds, ocr: Ocr | None) -> ExtractedText:
    if kind is PDF:
        from text.extract.pdf import read_pdf

        return read_pdf(content, bounds, ocr)
    if kind in (DOCX, PPTX, XLSX, EPUB):
        return _read_archive(kind, content, bounds)
    if kind in (HTML, EML, JSON):
        return _read_structured(kind, content, charset, bounds)
    return ExtractedText(decode(content, charset=charset), kind.mime_type, PLAIN[kind])


def _read_archive(kind: Kind, content: bytes, bounds: Bounds) -> ExtractedText:
    if kind is DOCX:
        from text.extract.word import read_docx

        return read_docx(content, bounds)
    if kind is PPTX:
        from text.extract.slides import read_pptx

        return read_pptx(content, bounds)
    if kind is XLSX:
        from text.extract.sheets import read_xlsx

        return read_xlsx(content, bounds)
    from text.extract.books import read_epub

    return read_epub(content, bounds)


def _read_structured(kind: Kind, content: bytes, charset: str | None, bounds: Bounds) -> ExtractedText:
    if kind is HTML:
        from text.extract.markup import read_html

        return read_html(content, bounds, charset)
    from text.extract.structured import read_json, read_mail

    return read_mail(content, bounds) if kind is EML else read_json(content, bounds, charset)
