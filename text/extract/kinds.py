"""What is a file? Its content decides; its name and what the sender calls it choose among kinds of plain text only."""

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
_OF_MAIL = re.compile(
    r"(?:Return-Path|Received|Delivered-To|MIME-Version|Message-ID|From|Date|Subject|To|Content-Type):", re.I
)


@dataclass(frozen=True, slots=True)
class Kind:
    """*suffixes* are those of file names, the usual one first. *container* says what the bytes are, from outside."""

    name: str
    mime_type: str
    suffixes: tuple[str, ...]
    container: str = ""
    is_binary: bool = False


PDF = Kind("PDF", "application/pdf", (".pdf",), is_binary=True)
_OFFICE = "application/vnd.openxmlformats-officedocument"
_ODF = "application/vnd.oasis.opendocument"
DOCX = Kind("DOCX", f"{_OFFICE}.wordprocessingml.document", (".docx", ".docm", ".dotx", ".dotm"), ZIP, is_binary=True)
PPTX = Kind(
    "PPTX",
    f"{_OFFICE}.presentationml.presentation",
    (".pptx", ".pptm", ".ppsx", ".ppsm", ".potx", ".potm"),
    ZIP,
    is_binary=True,
)
XLSX = Kind("XLSX", f"{_OFFICE}.spreadsheetml.sheet", (".xlsx", ".xlsm", ".xltx", ".xltm"), ZIP, is_binary=True)
XLSB = Kind("XLSB", "application/vnd.ms-excel.sheet.binary.macroenabled.12", (".xlsb",), ZIP, is_binary=True)
XLS = Kind("XLS", "application/vnd.ms-excel", (".xls", ".xlt"), OLE, is_binary=True)
ODS = Kind("ODS", f"{_ODF}.spreadsheet", (".ods",), ZIP, is_binary=True)
ODT = Kind("ODT", f"{_ODF}.text", (".odt", ".ott"), ZIP, is_binary=True)
EPUB = Kind("EPUB", "application/epub+zip", (".epub",), ZIP, is_binary=True)
RTF = Kind("RTF", "application/rtf", (".rtf",))
ARCHIVE = Kind("a ZIP archive", "application/zip", (), ZIP, is_binary=True)
COMPOUND = Kind("an Office file of the format before 2007", "application/x-ole-storage", (), OLE, is_binary=True)
HTML = Kind("HTML", "text/html", (".html", ".htm", ".xhtml", ".xht"))
EML = Kind("EML", "message/rfc822", (".eml", ".mbox", ".mht", ".mhtml"))
XML = Kind("XML", "application/xml", (".xml", ".svg"))
MARKDOWN = Kind("Markdown", "text/markdown", (".md", ".markdown"))
CSV = Kind("CSV", "text/csv", (".csv",))
TSV = Kind("TSV", "text/tab-separated-values", (".tsv",))
JSON = Kind("JSON", "application/json", (".json", ".jsonl", ".ndjson"))
NOTEBOOK = Kind("a notebook", "application/x-ipynb+json", (".ipynb",))
RST = Kind("reStructuredText", "text/x-rst", (".rst",))
TEXT = Kind("text", "text/plain", (".txt", ".text", ".log"))

KINDS = (
    *(PDF, DOCX, PPTX, XLSX, XLSB, XLS, ODS, ODT, EPUB, RTF, HTML, EML, XML),
    *(MARKDOWN, CSV, TSV, JSON, NOTEBOOK, RST, TEXT),
)
PLAIN = {TEXT: "default", RST: "default", MARKDOWN: "markdown", CSV: "table", TSV: "table"}
"""The kinds that are text as they stand, each with the strategy of chunking that fits it."""

_ALIASES = {
    "application/xhtml+xml": HTML,
    "text/xml": XML,
    "image/svg+xml": XML,
    "text/rtf": RTF,
    "application/jsonl": JSON,
    "application/x-ndjson": JSON,
    "application/mbox": EML,
}
_READ = "PDF, DOCX, PPTX, XLSX, XLS, ODS, EPUB, HTML, EML, XML, Markdown, CSV, JSON, notebooks and text"

_CONVERT = "Save it as {0}, or convert it: soffice --headless --convert-to {0} FILE."
WAYS_OUT = {
    ".doc": f"It is a Word document of the format before 2007 (.doc), which is not read. {_CONVERT.format('docx')}",
    ".ppt": f"It is a presentation of the format before 2007 (.ppt), which is not read. {_CONVERT.format('pptx')}",
    ".msg": "It is a message of Outlook (.msg), which is not read. Save it as .eml, or convert it with msgconvert.",
}


def kind_of(head: bytes, filename: str, declared: str = "") -> Kind:
    """What a file is, by its first HEAD_BYTES. Of a ZIP archive or an Office file before 2007 only what it is called:
    what is in it says more (text/extract/packages.py).

    *declared* is a content type, with its charset or without. Raises Unreadable for what no reader is there for.
    """
    if b"%PDF-" in head[:1024]:
        return PDF
    called = _called(filename, declared)
    if head.startswith(b"PK\x03\x04"):
        return called if called.container == ZIP else ARCHIVE
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        for suffix, way_out in WAYS_OUT.items():
            if filename.lower().endswith(suffix):
                raise Unreadable(way_out)
        return called if called.container == OLE else COMPOUND
    if head.startswith(b"{\\rtf"):
        return RTF
    return _textual(_as_text(head, declared), called)


def charset_of(declared: str) -> str | None:
    found = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", declared, re.IGNORECASE)
    return found.group(1) if found else None


def what_is_read() -> str:
    return f"What can be read: {_READ}."


def _textual(head: str, called: Kind) -> Kind:
    start = _SPACE_OR_COMMENT.match(head)
    assert start is not None
    if _HTML.match(head, start.end()):
        return HTML
    if called in (TEXT, XLS, XLSX) and _PART_OF_HTML.match(head, start.end()):
        return HTML
    if called in (TEXT, XML, XLS, XLSX) and _XML.match(head.lstrip("\ufeff \t\r\n")):
        return XML
    if called is XLS:
        return TSV if "\t" in head else CSV
    if called.is_binary:
        raise Unreadable(f"It is called a {called.name} but is not one: its content is text.")
    if called is XML:
        return XML if head.lstrip("\ufeff \t\r\n").startswith("<") else TEXT
    if called in (EML, TEXT):
        return EML if _is_mail(head, is_called_so=called is EML) else TEXT
    return TEXT if called is RTF else called


def _is_mail(head: str, *, is_called_so: bool) -> bool:
    """It begins with header lines alone: a file that is called otherwise with three that every mail has."""
    start = _MBOX_LINE.match(head.lstrip("\ufeff"))
    assert start is not None
    block, *rest = re.split(r"\r?\n\r?\n", head.lstrip("\ufeff")[start.end() :], maxsplit=1)
    lines = re.split(r"\r?\n", block)
    if not rest and len(lines) > 1:
        del lines[-1]  # what was looked at may end amid it
    if not all(_HEADER.match(line) for line in lines):
        return False
    known = sum(1 for line in lines if _OF_MAIL.match(line))
    return known >= (1 if is_called_so else 3)


def _as_text(head: bytes, declared: str) -> str:
    try:
        return decode(head, charset=charset_of(declared), is_cut=len(head) >= HEAD_BYTES)
    except Unreadable as error:
        raise Unreadable(f"It is none of the files that can be read, or damaged. {what_is_read()}") from error


def _called(filename: str, declared: str) -> Kind:
    """By the name's suffix; where that says nothing, by the content type that the sender gave."""
    return next(_suggested(filename.lower(), declared.partition(";")[0].strip().lower()), TEXT)


def _suggested(filename: str, mime_type: str) -> Iterator[Kind]:
    for kind in KINDS:
        if filename.endswith(kind.suffixes):
            yield kind
    if mime_type in _ALIASES:
        yield _ALIASES[mime_type]
    for kind in KINDS:
        if mime_type == kind.mime_type:
            yield kind
