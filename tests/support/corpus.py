"""One small file of each type that the service reads, made by code, with the text that it has to become."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from tests.support import files, office
from tests.support.files import FEES, SEA, SHIPS

_FORMATS = "application/vnd.openxmlformats-officedocument"
_MACROS = "application/vnd.ms-{}.macroEnabled{}.main+xml"
_TABLE = "| Ship | Length | Fee |\n| --- | --- | --- |\n| Anna | 12 m | 100 |\n| Bertha | 24 m | 230 |"
_STOCK = "## Stock\n\n| Ship | Fee |\n| --- | --- |\n| Anna | "
_SENDER = "From: Ann <ann@example.org>"
_SAVED_PAGE = f"# The Harbour\n\nFrom: <Saved by a browser>\n\n# Harbour\n\n{SEA}"
_LINES = f"# Harbour\n\n{SEA}\n\n## Fees\n\n{FEES}"


@dataclass(frozen=True)
class Sample:
    """*text* is exactly what is read of *content*, as sent under *name*. *by_pandoc*: only where it is installed."""

    name: str
    content: Callable[[], bytes]
    text: str
    by_pandoc: bool = False

    @property
    def suffix(self) -> str:
        return f".{self.name.rpartition('.')[2]}"


def _word(kind: str) -> Callable[[], bytes]:
    rows = [office.row(*cells) for cells in SHIPS]
    return lambda: office.word(office.paragraph(SEA) + office.table(*rows), kind=kind)


def _slides(kind: str) -> Callable[[], bytes]:
    return lambda: office.slides(office.box(SEA) + office.box(FEES), kind=kind)


def _sheet(kind: str) -> Callable[[], bytes]:
    return lambda: office.sheet([["Ship", "Fee"], ["Anna", "1|<x:v>5</x:v>"]], formats=("00000",), kind=kind)


def _mbox() -> bytes:
    head = "From ann@example.org Mon Nov 30 10:00:00 2026\nFrom: Ann <ann@example.org>\nSubject: {}\n\n{}\n\n"
    return (head.format("Ships", SEA) + head.format("Fees", FEES)).encode()


def _archived_page() -> bytes:
    return (
        "From: <Saved by a browser>\r\nSubject: The Harbour\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/related; type="text/html"; boundary="part"\r\n\r\n'
        "--part\r\nContent-Type: text/html; charset=utf-8\r\nContent-Location: https://example.org/harbour\r\n\r\n"
        f"<html><body><h1>Harbour</h1><p>{SEA}</p></body></html>\r\n--part--\r\n"
    ).encode()


def _markup(content: str) -> Callable[[], bytes]:
    return content.format(SEA).encode


def _notebook() -> bytes:
    output = {"output_type": "stream", "name": "stdout", "text": ["330\n"]}
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Harbour\n", SEA]},
        {
            "cell_type": "code",
            "metadata": {},
            "execution_count": 1,
            "source": ["print(100 + 230)"],
            "outputs": [output],
        },
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


_OLD_SHEET: list[tuple[int, int, str | float]] = [(0, 0, "Ship"), (0, 1, "Fee"), (1, 0, "Anna"), (1, 1, 100.0)]

SAMPLES = [
    Sample("harbour.pdf", files.pdf, f"# Harbour\n\n{SEA}\n\n\f\n\n# Fees\n\n{FEES}\n\n{_TABLE}"),
    Sample("harbour.docx", files.word, f"# Harbour\n\n{SEA}\n\n- A first item\n\n## Fees\n\n\f\n\n{FEES}\n\n{_TABLE}"),
    Sample("macros.docm", _word(_MACROS.format("word.document", "")), f"{SEA}\n\n{_TABLE}"),
    Sample("template.dotx", _word(f"{_FORMATS}.wordprocessingml.template.main+xml"), f"{SEA}\n\n{_TABLE}"),
    Sample(
        "template.dotm", _word("application/vnd.ms-word.template.macroEnabledTemplate.main+xml"), f"{SEA}\n\n{_TABLE}"
    ),
    Sample(
        "harbour.pptx",
        files.powerpoint,
        f"# Harbour\n\n{SEA}\n\n\f\n\n# Fees\n\n{FEES}\n\n{_TABLE}\n\nNotes: Say it slowly.",
    ),
    Sample("macros.pptm", _slides(_MACROS.format("powerpoint.presentation", "")), f"{SEA}\n\n{FEES}"),
    Sample("show.ppsx", _slides(f"{_FORMATS}.presentationml.slideshow.main+xml"), f"{SEA}\n\n{FEES}"),
    Sample("show.ppsm", _slides(_MACROS.format("powerpoint.slideshow", "")), f"{SEA}\n\n{FEES}"),
    Sample("template.potx", _slides(f"{_FORMATS}.presentationml.template.main+xml"), f"{SEA}\n\n{FEES}"),
    Sample("template.potm", _slides(_MACROS.format("powerpoint.template", "")), f"{SEA}\n\n{FEES}"),
    Sample(
        "ships.xlsx",
        files.excel,
        f"## Ships\n\nAll ships of the year\n\n{_TABLE}\n\n## Crew\n\n| Name | 1.5 |\n| --- | --- |",
    ),
    Sample("macros.xlsm", _sheet(_MACROS.format("excel.sheet", "")), f"{_STOCK}00005 |"),
    Sample("template.xltx", _sheet(f"{_FORMATS}.spreadsheetml.template.main+xml"), f"{_STOCK}00005 |"),
    Sample("template.xltm", _sheet(_MACROS.format("excel.template", "")), f"{_STOCK}00005 |"),
    Sample("ships.xlsb", lambda: office.binary_sheet([["Ship", "Fee"], ["Anna", 100.0]]), f"{_STOCK}100 |"),
    Sample("ships.xls", lambda: office.old_sheet(_OLD_SHEET), f"{_STOCK}100 |"),
    Sample("template.xlt", lambda: office.old_sheet(_OLD_SHEET), f"{_STOCK}100 |"),
    Sample("ships.ods", lambda: office.open_sheet(SHIPS), f"## Stock\n\n{_TABLE}"),
    Sample("harbour.odt", lambda: office.open_text("Harbour", SEA), f"# Harbour\n\n{SEA}", by_pandoc=True),
    Sample(
        "template.ott",
        lambda: office.open_text("Harbour", SEA, kind="text-template"),
        f"# Harbour\n\n{SEA}",
        by_pandoc=True,
    ),
    Sample("harbour.rtf", lambda: b"{\\rtf1\\ansi " + SEA.encode() + b"\\par}", SEA, by_pandoc=True),
    Sample("harbour.epub", files.epub, f"# Harbour\n\n{SEA} ©\n\n# Fees\n\n{FEES} ©"),
    Sample("harbour.html", files.html, f"# Harbour\n\n{SEA}\n\n- A first item\n\n## Fees\n\n{FEES}\n\n{_TABLE}"),
    Sample("harbour.htm", _markup("<h1>Harbour</h1><p>{}</p>"), f"# Harbour\n\n{SEA}"),
    Sample(
        "harbour.xhtml",
        _markup("<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'><body><p>{}</p><p/></body></html>"),
        SEA,
    ),
    Sample("harbour.xht", _markup("<html xmlns='http://www.w3.org/1999/xhtml'><body><p>{}</p></body></html>"), SEA),
    Sample(
        "letter.eml",
        files.mail,
        f"# The Harbour\n\nFrom: Ann <ann@example.org>\nTo: bob@example.org\n\nDear Bob,\n\n{SEA}",
    ),
    Sample("letters.mbox", _mbox, f"# Ships\n\n{_SENDER}\n\n{SEA}\n\n# Fees\n\n{_SENDER}\n\n{FEES}"),
    Sample("page.mht", _archived_page, _SAVED_PAGE),
    Sample("page.mhtml", _archived_page, _SAVED_PAGE),
    Sample(
        "harbour.xml",
        _markup("<?xml version='1.0'?><harbour><name>North</name><note>{}</note></harbour>"),
        f"North\n\n{SEA}",
    ),
    Sample(
        "feed.xml",
        _markup("<rss version='2.0'><channel><title>Harbour</title><item>{}</item></channel></rss>"),
        f"Harbour\n\n{SEA}",
    ),
    Sample(
        "picture.svg",
        _markup("<svg xmlns='http://www.w3.org/2000/svg'><style>p {{}}</style><text>{}</text></svg>"),
        SEA,
    ),
    Sample("harbour.md", lambda: files.MARKDOWN, f"{_LINES}\n"),
    Sample("harbour.markdown", lambda: files.MARKDOWN, f"{_LINES}\n"),
    Sample("ships.csv", lambda: files.CSV, "Ship,Length,Fee\nAnna,12 m,100\nBertha,24 m,230"),
    Sample(
        "ships.tsv", lambda: files.CSV.replace(b",", b"\t"), "Ship\tLength\tFee\nAnna\t12 m\t100\nBertha\t24 m\t230"
    ),
    Sample(
        "harbour.json",
        lambda: files.JSON,
        "harbour.name: North\nharbour.ships[0].name: Anna\nharbour.ships[0].fees: 1, 2",
    ),
    Sample(
        "ships.jsonl",
        lambda: b'{"Ship": "Anna", "Fee": 100}\n{"Ship": "Bertha", "Fee": 230.50}\n',
        "| Ship | Fee |\n| --- | --- |\n| Anna | 100 |\n| Bertha | 230.50 |",
    ),
    Sample(
        "ships.ndjson",
        lambda: b'{"Ship": "Anna"}\n{"Ship": "Bertha", "crew": ["Bo"]}\n',
        "[0].Ship: Anna\n[1].Ship: Bertha\n[1].crew: Bo",
    ),
    Sample("harbour.ipynb", _notebook, f"# Harbour\n{SEA}\n\n```\nprint(100 + 230)\n```\n\n```\n330\n```"),
    Sample("harbour.rst", lambda: f"Harbour\n=======\n\n{SEA}\n".encode(), f"Harbour\n=======\n\n{SEA}\n"),
    Sample("harbour.txt", lambda: SEA.encode(), SEA),
    Sample("harbour.text", lambda: f"\ufeff{SEA}\r\nÆrø".encode(), f"{SEA}\r\nÆrø"),
    Sample("harbour.log", lambda: f"12:03 {SEA}\n12:04 Ærø\n".encode("latin-1"), f"12:03 {SEA}\n12:04 Ærø\n"),
]
