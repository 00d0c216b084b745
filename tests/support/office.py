"""Builds Office files part by part, in forms that the libraries do not write but other programs do."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from tests.support import files

_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_FORMATS = "application/vnd.openxmlformats-officedocument"
_STRICT = "http://purl.oclc.org/ooxml"
NAMESPACES = {
    "w": "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "r": _OFFICE,
    "m": "http://schemas.openxmlformats.org/officeDocument/2006/math",
    "mc": "http://schemas.openxmlformats.org/markup-compatibility/2006",
    "wps": "http://schemas.microsoft.com/office/word/2010/wordprocessingShape",
    "a": "http://schemas.openxmlformats.org/drawingml/2006/main",
    "c": "http://schemas.openxmlformats.org/drawingml/2006/chart",
    "dgm": "http://schemas.openxmlformats.org/drawingml/2006/diagram",
    "p": "http://schemas.openxmlformats.org/presentationml/2006/main",
    "x": "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
}
_DECLARED = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())


def xml(name: str, content: str, attributes: str = "") -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><{name} {_DECLARED} {attributes}>{content}</{name}>'


def package(
    main: str, kind: str, parts: Mapping[str, str | bytes], related: Mapping[str, tuple[str, str]] | None = None
) -> bytes:
    """*related*: by the id of the relation of the main part, its type and its target."""
    folder, _, name = main.rpartition("/")
    relations = _relations(related or {})
    return files.archive(
        {
            "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" ContentType='
            f'"application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType='
            f'"application/xml"/><Override PartName="/{main}" ContentType="{kind}"/></Types>'.encode(),
            "_rels/.rels": _relations({"rId1": ("officeDocument", main)}),
            f"{folder}/_rels/{name}.rels": relations,
            **{part: content.encode() if isinstance(content, str) else content for part, content in parts.items()},
        }
    )


def _relations(related: Mapping[str, tuple[str, str]]) -> bytes:
    each = "".join(
        f'<Relationship Id="{name}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for name, (kind, target) in related.items()
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{each}</Relationships>'.encode()


def word(
    body: str,
    *,
    main: str = "word/document.xml",
    kind: str = f"{_FORMATS}.wordprocessingml.document.main+xml",
    parts: Mapping[str, str] | None = None,
    related: Mapping[str, tuple[str, str]] | None = None,
) -> bytes:
    document = xml("w:document", f"<w:body>{body}</w:body>")
    return package(main, kind, {main: document, **(parts or {})}, related)


def paragraph(text: str, properties: str = "") -> str:
    return f'<w:p><w:pPr>{properties}</w:pPr><w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


def row(*cells: str, properties: str = "") -> str:
    """Each cell as its text, or as ``properties|text``."""
    cells_xml = ""
    for cell in cells:
        before, _, text = cell.rpartition("|")
        cells_xml += f"<w:tc><w:tcPr>{before}</w:tcPr>{paragraph(text)}</w:tc>"
    return f"<w:tr><w:trPr>{properties}</w:trPr>{cells_xml}</w:tr>"


def table(*rows: str) -> str:
    return f"<w:tbl>{''.join(rows)}</w:tbl>"


def slides(
    shapes: str,
    *,
    kind: str = f"{_FORMATS}.presentationml.presentation.main+xml",
    parts: Mapping[str, str] | None = None,
    related: Mapping[str, tuple[str, str]] | None = None,
) -> bytes:
    """One slide. *related* are the relations of it."""
    slide = xml("p:sld", f"<p:cSld><p:spTree>{shapes}</p:spTree></p:cSld>")
    presentation = xml("p:presentation", '<p:sldIdLst><p:sldId id="256" r:id="rId1"/></p:sldIdLst>')
    beside: dict[str, str | bytes] = {"ppt/slides/_rels/slide1.xml.rels": _relations(related or {}), **(parts or {})}
    content: dict[str, str | bytes] = {"ppt/presentation.xml": presentation, "ppt/slides/slide1.xml": slide, **beside}
    return package("ppt/presentation.xml", kind, content, {"rId1": ("slide", "slides/slide1.xml")})


def box(*paragraphs: str) -> str:
    lines = "".join(
        each if each.startswith("<a:p>") else f"<a:p><a:r><a:t>{each}</a:t></a:r></a:p>" for each in paragraphs
    )
    return f"<p:sp><p:nvSpPr><p:nvPr/></p:nvSpPr><p:txBody>{lines}</p:txBody></p:sp>"


def sheet(
    rows: list[list[str]],
    *,
    formats: tuple[str, ...] = (),
    merged: str = "",
    main: str = "xl/workbook.xml",
    kind: str = f"{_FORMATS}.spreadsheetml.sheet.main+xml",
) -> bytes:
    """*rows*: each cell as the XML inside it, with ``style|`` before it, or as a text. A style is the number of one of
    *formats*, counted from 1; a built-in format is its number.
    """
    codes = {code: str(number) for number, code in enumerate(formats, 164) if not code.isdigit() or len(code) > 2}
    styles = "".join(f'<x:xf numFmtId="{codes.get(code, code)}"/>' for code in ("0", *formats))
    defined = "".join(f'<x:numFmt numFmtId="{number}" formatCode="{code}"/>' for code, number in codes.items())
    lines = "".join(
        f'<x:row r="{number}">{"".join(_cell(f"{chr(65 + at)}{number}", each) for at, each in enumerate(row) if each)}'
        "</x:row>"
        for number, row in enumerate(rows, 1)
    )
    folder = main.rpartition("/")[0]
    content = {
        main: xml("x:workbook", '<x:sheets><x:sheet name="Stock" sheetId="1" r:id="rId1"/></x:sheets>'),
        f"{folder}/styles.xml": xml("x:styleSheet", f"<x:numFmts>{defined}</x:numFmts><x:cellXfs>{styles}</x:cellXfs>"),
        f"{folder}/worksheets/sheet1.xml": xml("x:worksheet", f"<x:sheetData>{lines}</x:sheetData>{merged}"),
    }
    related = {"rId1": ("worksheet", "worksheets/sheet1.xml"), "rId2": ("styles", "styles.xml")}
    return package(main, kind, content, related)


def _cell(reference: str, cell: str) -> str:
    style, is_styled, content = cell.partition("|")
    if not is_styled:
        style, content = "0", cell
    if content.startswith("<x:v t="):
        kind, content = content[5:].partition(">")[0], f"<x:v>{content.partition('>')[2]}"
        return f'<x:c r="{reference}" s="{style}" {kind}>{content}</x:c>'
    if content.startswith("<"):
        return f'<x:c r="{reference}" s="{style}">{content}</x:c>'
    return f'<x:c r="{reference}" t="inlineStr"><x:is><x:t>{content}</x:t></x:is></x:c>'


def strict(content: bytes) -> bytes:
    """The same package in the Strict form."""

    def named_anew(part: bytes) -> bytes:
        for area in ("wordprocessingml", "presentationml", "spreadsheetml", "drawingml", "officeDocument"):
            part = part.replace(
                f"http://schemas.openxmlformats.org/{area}/2006/".encode(), f"{_STRICT}/{area}/".encode()
            )
        return part

    return files.archive({name: named_anew(part) for name, part in files.parts_of(content).items()})


def old_sheet(cells: list[tuple[int, int, str | float]]) -> bytes:
    """An .xls: the records of Excel 97, in a compound file. *cells* are rows, columns and values."""

    def record(number: int, content: bytes) -> bytes:
        return struct.pack("<HH", number, len(content)) + content

    def cell(row: int, column: int, value: str | float) -> bytes:
        place = struct.pack("<HHH", row, column, 0)
        if isinstance(value, str):
            return record(0x0204, place + struct.pack("<HB", len(value), 1) + value.encode("utf-16-le"))
        return record(0x0203, place + struct.pack("<d", value))

    begin = struct.pack("<HHHHII", 0x0600, 0, 0, 0, 0, 0)
    book = begin[:2] + struct.pack("<H", 0x0005) + begin[4:]
    page = begin[:2] + struct.pack("<H", 0x0010) + begin[4:]
    name = struct.pack("<BB", 5, 0) + b"Stock"
    head = record(0x0809, book) + record(0x0042, struct.pack("<H", 1200))
    at = len(head) + 4 + 6 + len(name) + 4
    content = head + record(0x0085, struct.pack("<IH", at, 0) + name) + record(0x000A, b"")
    content += record(0x0809, page) + b"".join(cell(*each) for each in cells) + record(0x000A, b"")
    return compound("Workbook", content)


def compound(name: str, content: bytes) -> bytes:
    """A compound file of one stream."""
    content = content.ljust(max(-(-len(content) // 512) * 512, 4096), b"\x00")
    sectors = len(content) // 512
    end, free, of_table = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD
    table = [of_table, end, *range(3, 2 + sectors), end]
    table += [free] * (128 - len(table))
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    head += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, end, 0, end, 0) + struct.pack("<I", 0)
    head += struct.pack("<I", free) * 108

    def entry(called: str, kind: int, child: int, start: int, size: int) -> bytes:
        written = called.encode("utf-16-le") + b"\x00\x00" if called else b""
        links = struct.pack("<HBBIII", len(written), kind, 1, free, free, child)
        return written.ljust(64, b"\x00") + links + bytes(36) + struct.pack("<IQ", start, size)

    entries = entry("Root Entry", 5, 1, end, 0) + entry(name, 2, free, 2, len(content)) + entry("", 0, free, 0, 0) * 2
    return head + struct.pack("<128I", *table) + entries + content


def open_sheet(rows: list[list[str]]) -> bytes:
    """An .ods."""
    cells = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{cell}</text:p></table:table-cell>' for cell in cells
        )
        + "</table:table-row>"
        for cells in rows
    )
    uri = "urn:oasis:names:tc:opendocument:xmlns"
    declared = " ".join(f'xmlns:{name}="{uri}:{name}:1.0"' for name in ("office", "table", "text"))
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    content = (
        f'<office:document-content {declared} office:version="1.2"><office:body><office:spreadsheet><table:table '
        f'table:name="Stock">{cells}</table:table></office:spreadsheet></office:body></office:document-content>'
    )
    manifest = f'<manifest:manifest xmlns:manifest="{uri}:manifest:1.0"/>'
    return files.archive(
        {"mimetype": kind.encode(), "content.xml": content.encode(), "META-INF/manifest.xml": manifest.encode()}
    )


def binary_sheet(cells: list[list[str | float]]) -> bytes:
    """An .xlsb: the records of Excel 2007, in a package."""

    def record(number: int, content: bytes = b"") -> bytes:
        kind = bytes([number]) if number < 128 else bytes([number & 127 | 128, number >> 7])
        return kind + bytes([len(content)]) + content

    def wide(text: str) -> bytes:
        return struct.pack("<I", len(text)) + text.encode("utf-16-le")

    def cell(column: int, value: str | float) -> bytes:
        place = struct.pack("<II", column, 0)
        return record(6, place + wide(value)) if isinstance(value, str) else record(5, place + struct.pack("<d", value))

    rows = b"".join(
        record(0, struct.pack("<I", number) + bytes(13)) + b"".join(cell(*each) for each in enumerate(row))
        for number, row in enumerate(cells)
    )
    size = struct.pack("<IIII", 0, len(cells) - 1, 0, len(cells[0]) - 1)
    main = "xl/workbook.bin"
    book = record(131) + record(143) + record(156, struct.pack("<II", 0, 1) + wide("rId1") + wide("Stock"))
    parts = {
        main: book + record(144) + record(132),
        "xl/worksheets/sheet1.bin": record(129) + record(148, size) + record(145) + rows + record(146) + record(130),
    }
    related = {"rId1": ("worksheet", "worksheets/sheet1.bin")}
    return package(main, "application/vnd.ms-excel.sheet.binary.macroEnabled.main", parts, related)


def open_text(heading: str, text: str, *, kind: str = "text") -> bytes:
    """An .odt, or an .ott with the *kind* ``text-template``."""
    uri = "urn:oasis:names:tc:opendocument:xmlns"
    declared = f'xmlns:office="{uri}:office:1.0" xmlns:text="{uri}:text:1.0"'
    content = (
        f'<office:document-content {declared} office:version="1.2"><office:body><office:text>'
        f'<text:h text:outline-level="1">{heading}</text:h><text:p>{text}</text:p>'
        "</office:text></office:body></office:document-content>"
    )
    styles = f'<office:document-styles {declared} office:version="1.2"><office:styles/></office:document-styles>'
    manifest = f'<manifest:manifest xmlns:manifest="{uri}:manifest:1.0"/>'
    return files.archive(
        {
            "mimetype": f"application/vnd.oasis.opendocument.{kind}".encode(),
            "content.xml": content.encode(),
            "styles.xml": styles.encode(),
            "META-INF/manifest.xml": manifest.encode(),
        }
    )
