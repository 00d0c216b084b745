"""What is a file? Its content decides; its name and what the sender calls it choose among kinds of plain text only."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

from errors import Unreadable
from text.extract.plain import decode

HEAD_BYTES = 8192
_SPACE_OR_COMMENT = re.compile(r"(?:\s++|<!--.*?-->|<\?xml[^>]*+>)*+", re.DOTALL)
_HTML = re.compile(r"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_MAIL_HEADER = re.compile(r"(?:Return-Path|Received|Delivered-To|MIME-Version|Message-ID|From|Date|Subject|To):", re.I)


@dataclass(frozen=True, slots=True)
class Kind:
    """*suffixes* are those of file names, the usual one first. *part* is in every ZIP archive of the kind."""

    name: str
    mime_type: str
    suffixes: tuple[str, ...]
    part: str = ""
    is_binary: bool = False


PDF = Kind("PDF", "application/pdf", (".pdf",), is_binary=True)
_OFFICE = "application/vnd.openxmlformats-officedocument"
DOCX = Kind("DOCX", f"{_OFFICE}.wordprocessingml.document", (".docx",), "word/document.xml", is_binary=True)
PPTX = Kind("PPTX", f"{_OFFICE}.presentationml.presentation", (".pptx",), "ppt/presentation.xml", is_binary=True)
XLSX = Kind("XLSX", f"{_OFFICE}.spreadsheetml.sheet", (".xlsx",), "xl/workbook.xml", is_binary=True)
EPUB = Kind("EPUB", "application/epub+zip", (".epub",), "META-INF/container.xml", is_binary=True)
ARCHIVE = Kind("a ZIP archive", "application/zip", (), is_binary=True)
HTML = Kind("HTML", "text/html", (".html", ".htm", ".xhtml"))
EML = Kind("EML", "message/rfc822", (".eml",))
MARKDOWN = Kind("Markdown", "text/markdown", (".md", ".markdown"))
CSV = Kind("CSV", "text/csv", (".csv",))
TSV = Kind("TSV", "text/tab-separated-values", (".tsv",))
JSON = Kind("JSON", "application/json", (".json", ".jsonl", ".ndjson"))
RST = Kind("reStructuredText", "text/x-rst", (".rst",))
TEXT = Kind("text", "text/plain", (".txt", ".text", ".log"))

KINDS = (PDF, DOCX, PPTX, XLSX, EPUB, HTML, EML, MARKDOWN, CSV, TSV, JSON, RST, TEXT)
_READ = "PDF, DOCX, PPTX, XLSX, EPUB, HTML, EML, Markdown, CSV, JSON and text"


def kind_of(head: bytes, filename: str, declared: str = "") -> Kind:
    """What a file is, by its first HEAD_BYTES. Of a ZIP archive only what it is called: see kind_of_archive.

    *declared* is a content type, with its charset or without. Raises Unreadable for what no reader is there for.
    """
    if b"%PDF-" in head[:1024]:
        return PDF
    called = _called(filename, declared)
    if head.startswith(b"PK\x03\x04"):
        return called if called.part else ARCHIVE
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        raise Unreadable(
            "It is an Office file that is protected by a password, or of the format before 2007 (.doc, .xls, .ppt): "
            "save it as .docx, .xlsx or .pptx without a password."
        )
    return _textual(_as_text(head, called, declared), called)


def kind_of_archive(content: bytes) -> Kind:
    """The kind that its parts make of a ZIP archive."""
    names = set(zipfile.ZipFile(io.BytesIO(content)).namelist())
    for kind in KINDS:
        if kind.part and kind.part in names:
            return kind
    raise Unreadable(f"It is a ZIP archive that is none of DOCX, PPTX, XLSX and EPUB. {_what_is_read()}")


def charset_of(declared: str) -> str | None:
    found = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", declared, re.IGNORECASE)
    return found.group(1) if found else None


def _textual(head: str, called: Kind) -> Kind:
    start = _SPACE_OR_COMMENT.match(head)
    assert start is not None
    if _HTML.match(head, start.end()):
        return HTML
    is_mail = _MAIL_HEADER.match(head) is not None
    if called is EML and not is_mail:
        return TEXT
    return EML if called is TEXT and is_mail and _count_mail_headers(head) >= 3 else called


def _count_mail_headers(head: str) -> int:
    block = re.split(r"\r?\n\r?\n", head, maxsplit=1)[0]
    return sum(1 for line in block.splitlines() if _MAIL_HEADER.match(line))


def _as_text(head: bytes, called: Kind, declared: str) -> str:
    try:
        text = decode(head, charset=charset_of(declared), is_cut=len(head) >= HEAD_BYTES)
    except Unreadable as error:
        raise Unreadable(f"It is none of the files that can be read, or damaged. {_what_is_read()}") from error
    if called.is_binary:
        raise Unreadable(f"It is called a {called.name} but is not one: its content is text.")
    return text


def _called(filename: str, declared: str) -> Kind:
    """By the name's suffix; where that says nothing, by the content type that the sender gave."""
    return next(_suggested(filename.lower(), declared.partition(";")[0].strip().lower()), TEXT)


def _suggested(filename: str, mime_type: str) -> Iterator[Kind]:
    for kind in KINDS:
        if filename.endswith(kind.suffixes):
            yield kind
    for kind in KINDS:
        if mime_type in (kind.mime_type, "application/xhtml+xml" if kind is HTML else kind.mime_type):
            yield kind


def _what_is_read() -> str:
    return f"What can be read: {_READ}."
