"""Excel files: each sheet is a section, what stands between blank rows a table."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from text.extract.archives import check_archive
from text.extract.base import Bounds, ExtractedText, Pieces
from text.extract.kinds import XLSX


def read_xlsx(content: bytes, bounds: Bounds) -> ExtractedText:
    """The values of all sheets that hold any, hidden ones too; formulas as what they came to."""
    from python_calamine import CalamineWorkbook, SheetTypeEnum

    check_archive(content, bounds, may_have_doctype=False)
    workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
    out = Pieces(bounds.chars)
    for sheet in workbook.sheets_metadata:
        if sheet.typ != SheetTypeEnum.WorkSheet:
            continue
        tables = _tables(workbook.get_sheet_by_name(sheet.name).iter_rows())
        for number, table in enumerate(tables):
            if number == 0:
                out.add_heading(2, sheet.name)
            out.add_table(table)
    return ExtractedText(out.text(), XLSX.mime_type, out.strategy("default"))


def _tables(rows: Iterator[list[Any]]) -> Iterator[list[list[str]]]:
    shown = ([_shown(value) for value in row] for row in rows)
    for has_text, block in groupby(shown, key=any):
        if has_text:
            yield _without_empty_columns(list(block))


def _without_empty_columns(rows: list[list[str]]) -> list[list[str]]:
    used = [any(column) for column in zip(*rows, strict=True)]
    return [[cell for cell, is_used in zip(row, used, strict=True) if is_used] for row in rows]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat(*([" "] if isinstance(value, datetime.datetime) else []))
    return str(value).strip()
