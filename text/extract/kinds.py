"""Determines the kind of a file by its content. Name and declared type only choose among kinds of plain text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from errors import Unreadable
from text.extract.plain import decode

HEAD_BYTES = 8192
ZIP, OLE = "zip", "ole"
_SPACE_OR_COMMENT = re.compile(r"(?:[\s\ufeff]++|<!--.*?-->|<\?xml[^>]*+>)*+", re.DOTALL)
_HTML = re.compile(r"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_PART_OF_HTML = re.compile(
    r"<(?:table|div|p|h[1-6]|ul|ol|dl|meta|title|style|center|section|article|main|header|span|font|pre|b|blockquote|"
    r"form|a\s+[a-z])(?:\s[^<>]*)?>.*</(?:td|tr|table|div|p|h[1-6]|li|ul|ol|dl|title|style|span|font|pre|b|a)\s*>",
    re.IGNORECASE | re.DOTALL,
)
_XML = re.compile(r"<(?:\?xml|svg|!doctype\s+(?!html)\w|rss|feed|[a-z]\w*\s[^>]{0,200}xmlns)", re.IGNORECASE)
_HEADER = re.compile(r"[!-9;-~]{1,76}:(?:[ \t]|$)|[ \t]")
_MBOX_LINE = re.compile(r"\s*(?:From [^\n]*\n)?")
_MAIL_HEADER = re.compile(
    r"(?:Return-Path|Received|Delivered-To|MIME-Version|Message-ID|From|Date|Subject|To|Content-Type):", re.I
)


@dataclass(frozen=True, slots=True)
class FileKind:
    """*suffixes* are those of file names, the usual one first. *container* is the format around the content, or ""."""

    name: str
    mime_type: str
    suffixes: tuple[str, ...]
    container: str = ""
    is_binary: bool = False


PDF = FileKind("PDF", "application/pdf", (".pdf",), is_binary=True)
_OFFICE = "application/vnd.openxmlformats-officedocument"
_ODF = "application/vnd.oasis.opendocument"
DOCX = FileKind(
    "DOCX", f"{_OFFICE}.wordprocessingml.document", (".docx", ".docm", ".dotx", ".dotm"), ZIP, is_binary=True
)
PPTX = FileKind(
    "PPTX",
    f"{_OFFICE}.presentationml.presentation",
    (".pptx", ".pptm", ".ppsx", ".ppsm", ".potx", ".potm"),
    ZIP,
    is_binary=True,
)
XLSX = FileKind("XLSX", f"{_OFFICE}.spreadsheetml.sheet", (".xlsx", ".xlsm", ".xltx", ".xltm"), ZIP, is_binary=True)
XLSB = FileKind("XLSB", "application/vnd.ms-excel.sheet.binary.macroenabled.12", (".xlsb",), ZIP, is_binary=True)
XLS = FileKind("XLS", "application/vnd.ms-excel", (".xls", ".xlt"), OLE, is_binary=True)
ODS = FileKind("ODS", f"{_ODF}.spreadsheet", (".ods",), ZIP, is_binary=True)
ODT = FileKind("ODT", f"{_ODF}.text", (".odt", ".ott"), ZIP, is_binary=True)
EPUB = FileKind("EPUB", "application/epub+zip", (".epub",), ZIP, is_binary=True)
RTF = FileKind("RTF", "application/rtf", (".rtf",))
ARCHIVE = FileKind("a ZIP archive", "application/zip", (), ZIP, is_binary=True)
COMPOUND = FileKind("an Office file of the format before 2007", "application/x-ole-storage", (), OLE, is_binary=True)
HTML = FileKind("HTML", "text/html", (".html", ".htm", ".xhtml", ".xht"))
EML = FileKind("EML", "message/rfc822", (".eml", ".mbox", ".mht", ".mhtml"))
XML = FileKind("XML", "application/xml", (".xml", ".svg"))
MARKDOWN = FileKind("Markdown", "text/markdown", (".md", ".markdown"))
CSV = FileKind("CSV", "text/csv", (".csv",))
TSV = FileKind("TSV", "text/tab-separated-values", (".tsv",))
JSON = FileKind("JSON", "application/json", (".json", ".jsonl", ".ndjson"))
NOTEBOOK = FileKind("a notebook", "application/x-ipynb+json", (".ipynb",))
RST = FileKind("reStructuredText", "text/x-rst", (".rst",))
TEXT = FileKind("text", "text/plain", (".txt", ".text", ".log"))

KINDS = (
    *(PDF, DOCX, PPTX, XLSX, XLSB, XLS, ODS, ODT, EPUB, RTF, HTML, EML, XML),
    *(MARKDOWN, CSV, TSV, JSON, NOTEBOOK, RST, TEXT),
)
PLAIN = {TEXT: "default", RST: "default", MARKDOWN: "markdown", CSV: "table", TSV: "table"}
"""The kinds that are read as they are, each with its chunking strategy."""

_ALIASES = {
    "application/xhtml+xml": HTML,
    "text/xml": XML,
    "image/svg+xml": XML,
    "text/rtf": RTF,
    "application/jsonl": JSON,
    "application/x-ndjson": JSON,
    "application/mbox": EML,
}
_SUPPORTED = "PDF, DOCX, PPTX, XLSX, XLS, ODS, EPUB, HTML, EML, XML, Markdown, CSV, JSON, notebooks and text"

_CONVERT = "Save it as {0}, or convert it: soffice --headless --convert-to {0} FILE."
WAYS_OUT = {
    ".doc": f"It is a Word document of the format before 2007 (.doc), which is not read. {_CONVERT.format('docx')}",
    ".ppt": f"It is a presentation of the format before 2007 (.ppt), which is not read. {_CONVERT.format('pptx')}",
    ".msg": "It is a message of Outlook (.msg), which is not read. Save it as .eml, or convert it with msgconvert.",
}


def kind_of(head: bytes, filename: str, declared: str = "") -> FileKind:
    """Returns the kind of a file by its first HEAD_BYTES. ZIP archives and Office files before 2007 are only classified
    by name here; text/extract/packages.py looks inside.

    *declared* is a content type, with or without a charset. Raises Unreadable if there is no reader for the file.
    """
    if b"%PDF-" in head[:1024]:
        return PDF
    suggested = _suggested_kind(filename, declared)
    if head.startswith(b"PK\x03\x04"):
        return suggested if suggested.container == ZIP else ARCHIVE
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        for suffix, way_out in WAYS_OUT.items():
            if filename.lower().endswith(suffix):
                raise Unreadable(way_out)
        return suggested if suggested.container == OLE else COMPOUND
    if head.startswith(b"{\\rtf"):
        return RTF
    return _textual(_as_text(head, declared), suggested)


def charset_of(declared: str) -> str | None:
    match = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", declared, re.IGNORECASE)
    return match.group(1) if match else None


def supported_kinds() -> str:
    return f"What can be read: {_SUPPORTED}."


def _textual(head: str, suggested: FileKind) -> FileKind:
    start = _SPACE_OR_COMMENT.match(head)
    assert start is not None
    if _HTML.match(head, start.end()):
        return HTML
    if suggested in (TEXT, XLS, XLSX) and _PART_OF_HTML.match(head, start.end()):
        return HTML
    if suggested in (TEXT, XML, XLS, XLSX) and _XML.match(head.lstrip("\ufeff \t\r\n")):
        return XML
    if suggested is XLS:
        return TSV if "\t" in head else CSV
    if suggested.is_binary:
        raise Unreadable(f"It is called a {suggested.name} but is not one: its content is text.")
    if suggested is XML:
        return XML if head.lstrip("\ufeff \t\r\n").startswith("<") else TEXT
    if suggested in (EML, TEXT):
        return EML if _is_mail(head, is_suggested=suggested is EML) else TEXT
    return TEXT if suggested is RTF else suggested


def _is_mail(head: str, *, is_suggested: bool) -> bool:
    """Does it begin with header lines only? Without a mail's name or type it needs three headers of mail."""
    start = _MBOX_LINE.match(head.lstrip("\ufeff"))
    assert start is not None
    block, *rest = re.split(r"\r?\n\r?\n", head.lstrip("\ufeff")[start.end() :], maxsplit=1)
    lines = re.split(r"\r?\n", block)
    if not rest and len(lines) > 1:
        del lines[-1]  # the head may end within it
    if not all(_HEADER.match(line) for line in lines):
        return False
    mail_headers = sum(1 for line in lines if _MAIL_HEADER.match(line))
    return mail_headers >= (1 if is_suggested else 3)


def _as_text(head: bytes, declared: str) -> str:
    try:
        return decode(head, charset=charset_of(declared), is_cut=len(head) >= HEAD_BYTES)
    except Unreadable as error:
        raise Unreadable(f"It is none of the files that can be read, or damaged. {supported_kinds()}") from error


def _suggested_kind(filename: str, declared: str) -> FileKind:
    """Returns the kind by the name's suffix, else by the declared content type, else plain text."""
    return next(_suggested_kinds(filename.lower(), declared.partition(";")[0].strip().lower()), TEXT)


def _suggested_kinds(filename: str, mime_type: str) -> Iterator[FileKind]:
    for kind in KINDS:
        if filename.endswith(kind.suffixes):
            yield kind
    if mime_type in _ALIASES:
        yield _ALIASES[mime_type]
    for kind in KINDS:
        if mime_type == kind.mime_type:
            yield kind
