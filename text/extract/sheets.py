"""Spreadsheets: each sheet is a section, each block of rows between blank ones a table."""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from html import unescape
from itertools import groupby
from typing import Any

from errors import Unreadable
from text.extract.archives import check_archive
from text.extract.base import Bounds, ExtractedText, TextBuilder
from text.extract.drawings import shape_lines, write_graphics
from text.extract.kinds import XLSX, ZIP, FileKind
from text.extract.numbers import NumberFormat, number_format, plain
from text.extract.packages import Package, R, open_package

_USUAL_MAIN = "xl/workbook.xml"
_LONGEST_REPEATED = 200
_REFERENCE = rb"\s[^>]*?\br=\"([A-Z]{1,3})(\d{1,7})\"[^>]*?"
_ERROR = re.compile(
    rb"<(?:\w+:)?c(?=\s[^>]*?\bt=\"e\")" + _REFERENCE + rb">(?:(?!</(?:\w+:)?c>).)*?<(?:\w+:)?v>([^<]*)<",
    re.DOTALL,
)
_NO_VALUE = rb"(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v></(?:\w+:)?v>)?"
_UNCOMPUTED = re.compile(
    rb"<(?:\w+:)?c(?!\s[^>]*?\bt=\"str\")"
    + _REFERENCE
    + rb">\s*<(?:\w+:)?f(?:\s[^>]*?)?(?:/>|>([^<]*)</(?:\w+:)?f>)\s*"
    + _NO_VALUE
    + rb"\s*</"
)
_Cells = dict[tuple[int, int], str | NumberFormat]


def read_xlsx(content: bytes, bounds: Bounds) -> ExtractedText:
    """Reads the values of all sheets that are not empty, hidden ones too; of formulas the stored results."""
    package = open_package(content, bounds)
    out = TextBuilder(bounds.chars)
    if package.main.lower() != _USUAL_MAIN:
        content = _renamed_to_usual(package)
    parts, formats = _sheets(package), _formats(package)
    with _panics_as_errors():
        for sheet in _worksheets(content):
            part = parts.get(sheet.name, "")
            special = _special_cells(package.read(part), formats, sheet.name, out) if part else {}
            _write_sheet(sheet, special, out)
            _write_beside(package, part, sheet.name, out)
    return out.extracted(XLSX.mime_type, "default", package.title())


def read_sheets(kind: FileKind, content: bytes, bounds: Bounds) -> ExtractedText:
    """Reads XLS, XLSB and ODS: the stored values only."""
    if kind.container == ZIP:
        check_archive(content, bounds, may_have_doctype=True)
    out = TextBuilder(bounds.chars)
    with _panics_as_errors():
        for sheet in _worksheets(content):
            _write_sheet(sheet, {}, out)
    return out.extracted(kind.mime_type, "default")


@contextmanager
def _panics_as_errors() -> Iterator[None]:
    """Turns the library's panics at damaged files, which are BaseExceptions, into ValueErrors."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise ValueError("the file is damaged") from error
        raise


def _worksheets(content: bytes) -> Iterator[Any]:
    from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum

    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
    except CalamineError as error:
        if "assword" in str(error):
            raise Unreadable("It is protected by a password: send it without one.") from error
        raise
    for sheet in workbook.sheets_metadata:
        if sheet.typ == SheetTypeEnum.WorkSheet:
            yield workbook.get_sheet_by_name(sheet.name)


def _write_sheet(sheet: Any, special: _Cells, out: TextBuilder) -> None:
    merged = [each for each in sheet.merged_cell_ranges or () if each[1][0] > each[0][0]]
    rows: Iterable[list[str]] = ([_cell_text(value) for value in row] for row in sheet.iter_rows())
    if special or merged:
        first_column = sheet.start[1] if sheet.start else 0
        filled = _with_special_cells(sheet, special, first_column)
        _repeat_tall_cells(filled, merged, first_column)
        rows = filled
    is_first = True
    for has_text, block in groupby(rows, key=any):
        if has_text:
            if is_first:
                out.add_heading(2, sheet.name)
            is_first = False
            out.add_table(_without_empty_columns(list(block)), title_level=3)


def _with_special_cells(sheet: Any, special: _Cells, first_column: int) -> list[list[str]]:
    values = list(sheet.iter_rows())
    rows = [[_cell_text(value) for value in row] for row in values]
    width = max((len(row) for row in rows), default=0)
    for (row, column), content in special.items():
        at = column - first_column
        if isinstance(content, NumberFormat):
            if row < len(values) and 0 <= at < len(values[row]) and type(values[row][at]) in (float, int):
                rows[row][at] = content.show(values[row][at])
        elif at >= 0:
            rows += [[""] * width for _ in range(row + 1 - len(rows))]
            rows[row] += [""] * (at + 1 - len(rows[row]))
            rows[row][at] = content
    widest = max((len(row) for row in rows), default=0)
    return [row + [""] * (widest - len(row)) for row in rows]


def _repeat_tall_cells(rows: list[list[str]], merged: list[Any], first_column: int) -> None:
    """Repeats cells that span rows in each row with other text, so that it can be understood by itself."""
    for (top, left), (bottom, _) in merged:
        at = left - first_column
        if top >= len(rows) or not 0 <= at < len(rows[top]) or len(rows[top][at]) > _LONGEST_REPEATED:
            continue
        for row in rows[top + 1 : bottom + 1]:
            if any(row) and not row[at]:
                row[at] = rows[top][at]


def _without_empty_columns(rows: list[list[str]]) -> list[list[str]]:
    used = [any(column) for column in zip(*rows, strict=True)]
    if all(used):
        return rows
    return [[cell for cell, is_used in zip(row, used, strict=True) if is_used] for row in rows]


def _special_cells(sheet: bytes, formats: dict[int, NumberFormat], name: str, out: TextBuilder) -> _Cells:
    """Returns what the values lack: number formats, formulas that were never computed, and errors."""
    cells: _Cells = {}
    used = [number for number in formats if b's="%d"' % number in sheet]
    for number in used:
        styled = re.compile(rb"<(?:\w+:)?c(?=\s[^>]*?\bs=\"%d\")" % number + _REFERENCE + b">")
        cells.update((_place(match), formats[number]) for match in styled.finditer(sheet))
    has_formulas = b"<f" in sheet or b":f" in sheet
    uncomputed = _UNCOMPUTED.finditer(sheet) if has_formulas else ()
    formulas = {_place(match): f"={_text(match)}" if _text(match) else "" for match in uncomputed}
    errors = {_place(match): _text(match) for match in _ERROR.finditer(sheet)} if b't="e"' in sheet else {}
    if formulas:
        why = "were never computed: they are shown themselves. Open the file in a program and save it."
        out.warn("formulas_without_values", f"{len(formulas)} formulas of the sheet {name!r} {why}", part=name)
    if errors:
        out.warn("error_values", f"{len(errors)} cells of the sheet {name!r} show an error.", part=name)
    return {**cells, **formulas, **errors}


def _place(match: re.Match[bytes]) -> tuple[int, int]:
    column = 0
    for letter in match.group(1):
        column = column * 26 + letter - ord("A") + 1
    return int(match.group(2)) - 1, column - 1


def _text(match: re.Match[bytes]) -> str:
    return unescape((match.group(3) or b"").decode("utf-8", "replace"))


def _formats(package: Package) -> dict[int, NumberFormat]:
    """Returns the formats that change how a number is shown, by the number of the cell's style."""
    formats: dict[int, NumberFormat] = {}
    for part in package.related(package.main, "styles"):
        root = package.xml(part)
        if root is None:
            continue
        codes = {each.get("numFmtId"): each.get("formatCode") for each in root.iterfind("{*}numFmts/{*}numFmt")}
        for number, style in enumerate(root.iterfind("{*}cellXfs/{*}xf")):
            of = style.get("numFmtId", "0")
            number_format_of_style = number_format(codes.get(of), int(of) if of.isascii() and of.isdigit() else 0)
            if number_format_of_style is not None:
                formats[number] = number_format_of_style
    return formats


def _sheets(package: Package) -> dict[str, str]:
    """Returns the part of each sheet by the sheet's name."""
    relations = package.relations(package.main)
    return {
        sheet.get("name", ""): relations[sheet.get(f"{R}id")].target
        for sheet in package.xml(package.main).iter("{*}sheet")
        if sheet.get(f"{R}id") in relations
    }


def _write_beside(package: Package, part: str, name: str, out: TextBuilder) -> None:
    """Writes a sheet's text boxes and charts; warns of comments."""
    if not part:
        return
    if package.related(part, "comments"):
        out.warn("comments_left_out", f"The comments of the sheet {name!r} are not read.", part=name)
    for drawing in package.related(part, "drawing"):
        root = package.xml(drawing)
        if root is not None:
            out.add("\n".join(shape_lines(root)))
            write_graphics(package, drawing, root, out)


def _renamed_to_usual(package: Package) -> bytes:
    """Renames the parts as the library expects them: all in ``xl``, the main part ``workbook.xml``."""
    folder, _, name = package.main.rpartition("/")
    prefix = f"{folder}/" if folder else ""
    names = {f"xl/{name}": _USUAL_MAIN, f"xl/_rels/{name}.rels": "xl/_rels/workbook.xml.rels"}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for part in package.names():
            content = package.read(part)
            if part == "_rels/.rels":
                content = content.replace(package.main.encode(), _USUAL_MAIN.encode())
            stays = part.startswith(("_rels/", "[")) or not part.startswith(prefix)
            moved = part if stays else f"xl/{part[len(prefix) :]}"
            archive.writestr(names.get(moved, moved), content)
    return target.getvalue()


def _cell_text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float):
        return plain(value)
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, datetime.timedelta):
        seconds = round(value.total_seconds())
        return f"{'-' if seconds < 0 else ''}{abs(seconds) // 3600}:{abs(seconds) // 60 % 60:02}:{abs(seconds) % 60:02}"
    return _moment(value) if isinstance(value, datetime.date | datetime.time) else str(value).strip()


def _moment(value: datetime.date | datetime.time) -> str:
    """Formats a time, rounded to the second: sheets store inexact fractions of a day."""
    if isinstance(value, datetime.time):
        return (
            (datetime.datetime.combine(datetime.date(2000, 1, 1), value) + _HALF_A_SECOND).time().isoformat("seconds")
        )
    if isinstance(value, datetime.datetime):
        value = (value + _HALF_A_SECOND).replace(microsecond=0)
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ")
    return value.isoformat()


_HALF_A_SECOND = datetime.timedelta(microseconds=500_000)
