"""From a file to its text, as the chunkers understand it: a heading is ``# Title``, a page begins with a form feed,
a table is markdown's. Each kind of file has a reader of its own, and the library of each is loaded when it is needed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from errors import Unreadable
from text.extract.base import Bounds, Convert, ExtractedText, Ocr, Pieces, check_chars
from text.extract.kinds import (
    DOCX,
    EML,
    EPUB,
    HEAD_BYTES,
    HTML,
    JSON,
    NOTEBOOK,
    ODS,
    ODT,
    PDF,
    PLAIN,
    PPTX,
    RTF,
    XLS,
    XLSB,
    XLSX,
    XML,
    ZIP,
    Kind,
    charset_of,
    kind_of,
)
from text.extract.plain import decoded
from text.hashing import UNFIT_FOR_A_LINE, storable

LONGEST_TITLE = 1000


@dataclass(frozen=True, slots=True)
class Engines:
    """What other programs do, where they are installed."""

    ocr: Ocr | None = None
    convert: Convert | None = None


def extract(
    content: bytes,
    filename: str,
    *,
    bounds: Bounds,
    declared: str = "",
    ocr: Ocr | None = None,
    convert: Convert | None = None,
) -> ExtractedText:
    """The text of a file. *declared* is the content type that its sender gave, "" where none was given.

    Raises Unreadable, in words for whoever sent it, also where it has no text at all.
    """
    kind = kind_of(content[:HEAD_BYTES], filename, declared)
    try:
        kind = _inside(kind, content)
        found = _read(kind, content, charset_of(declared), bounds, Engines(ocr, convert))
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


def _inside(kind: Kind, content: bytes) -> Kind:
    """What is in a container decides, not what it is called."""
    if not kind.container:
        return kind
    from text.extract.packages import kind_of_archive, kind_of_compound

    return kind_of_archive(content) if kind.container == ZIP else kind_of_compound(content)


def _storable(found: ExtractedText) -> ExtractedText:
    """Without the characters that no database keeps; a title is one line and not a book."""
    title = UNFIT_FOR_A_LINE.sub("", storable(found.title or "")).strip()[:LONGEST_TITLE]
    warnings = tuple(
        replace(each, message=storable(each.message), part=storable(each.part) if each.part else None)
        for each in found.warnings
    )
    return replace(found, text=storable(found.text), title=title or None, warnings=warnings)


def _read(kind: Kind, content: bytes, charset: str | None, bounds: Bounds, engines: Engines) -> ExtractedText:
    if kind is PDF:
        from text.extract.pdf import read_pdf

        return read_pdf(content, bounds, engines.ocr)
    if kind in (DOCX, PPTX, XLSX, EPUB):
        return _read_archive(kind, content, bounds)
    if kind in (XLS, XLSB, ODS):
        from text.extract.sheets import read_sheets

        return read_sheets(kind, content, bounds)
    if kind in (RTF, ODT):
        return _converted(kind, content, bounds, engines.convert)
    if kind in (HTML, EML, JSON, NOTEBOOK, XML):
        return _read_structured(kind, content, charset, bounds)
    found = decoded(content, charset)
    return ExtractedText(found.text, kind.mime_type, PLAIN[kind], warnings=found.caveats)


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
    if kind is EML:
        from text.extract.mail import read_mail

        return read_mail(content, bounds)
    from text.extract.structured import read_json, read_xml

    return read_xml(content, bounds, charset) if kind is XML else read_json(content, bounds, charset)


def _converted(kind: Kind, content: bytes, bounds: Bounds, convert: Convert | None) -> ExtractedText:
    """By a program of its own, which makes HTML of it."""
    from text.extract.archives import check_archive
    from text.extract.markup import write_html

    if convert is None:
        suffix = kind.suffixes[0]
        raise Unreadable(
            f"It is {kind.name} ({suffix}), which is read where pandoc is installed beside the worker. Install it, or "
            f"convert the file: soffice --headless --convert-to docx FILE."
        )
    if kind.container == ZIP:
        check_archive(content, bounds, may_have_doctype=True)
    out = Pieces(bounds.chars)
    title = write_html(decoded(convert(content, kind.suffixes[0][1:])).text, out)
    return out.extracted(kind.mime_type, "markdown", title)
