"""The drawings of Office files: the text of shapes and SmartArt, the data of charts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from text.extract.base import TextBuilder, one_line, without_page_marks
from text.extract.formulas import linear, lowered, raised
from text.extract.numbering import numeral
from text.extract.packages import Package, R

A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}relIds"
_MAX_POINTS = 5000


def write_graphics(package: Package, part: str, drawing: Any, out: TextBuilder) -> None:
    """Writes the SmartArt and the charts to which *drawing*, in *part*, refers."""
    relations = package.relations(part)
    for reference in drawing.iter(_DIAGRAM, f"{_C}chart"):
        relation = relations.get(reference.get(f"{R}dm") or reference.get(f"{R}id") or "")
        root = package.xml(relation.target) if relation is not None else None
        if root is None:
            continue
        if reference.tag == _DIAGRAM:
            out.add("\n".join(shape_lines(root)))
        else:
            _write_chart(root, out)


def shape_lines(shape: Any) -> list[str]:
    """Returns each paragraph below *shape* as a line, with its list number."""
    counts: dict[str, tuple[str, int]] = {}
    lines = []
    for paragraph in shape.iter(f"{A}p"):
        text = without_page_marks(one_line(paragraph_text(paragraph)))
        if text:
            lines.append(f"{_number(paragraph, counts)}{text}")
    return lines


def paragraph_text(paragraph: Any) -> str:
    return "".join(_pieces(paragraph))


def _pieces(paragraph: Any) -> Iterator[str]:
    before = ""
    for child in paragraph:
        if child.tag == f"{A}br":
            piece = "\n"
        elif child.tag in (f"{A}r", f"{A}fld"):
            piece = _run(child, before)
        else:
            formula = next(child.iter(f"{_M}oMath"), None) if child.tag != f"{A}pPr" else None
            piece = linear(formula) if formula is not None else ""
        before = piece or before
        yield piece


def _run(run: Any, before: str) -> str:
    text = "".join(each.text or "" for each in run.iter(f"{A}t"))
    properties = run.find(f"{A}rPr")
    shift = properties.get("baseline", "0") if properties is not None else "0"
    if shift in ("0", "0%"):
        return text
    return lowered(text) if shift.startswith("-") else raised(text, before)


def _number(paragraph: Any, counts: dict[str, tuple[str, int]]) -> str:
    """Returns an item's number. Counting continues until a paragraph of the same or a higher level has none."""
    properties = paragraph.find(f"{A}pPr")
    level = properties.get("lvl", "0") if properties is not None else "0"
    numbered = properties.find(f"{A}buAutoNum") if properties is not None else None
    for deeper in [key for key in counts if key > level or (key == level and numbered is None)]:
        del counts[deeper]
    if numbered is None:
        return ""
    kind = numbered.get("type", "arabicPeriod")
    start = numbered.get("startAt", "1")
    before = counts.get(level)
    first = int(start) if start.isascii() and start.isdigit() and len(start) < 6 else 1
    number = before[1] + 1 if before is not None and before[0] == kind else first
    counts[level] = kind, number
    form = {"alphaLc": "a", "alphaUc": "A", "romanLc": "i", "romanUc": "I"}
    label = numeral(number, next((form[name] for name in form if kind.startswith(name)), "decimal"))
    return f"({label}) " if kind.endswith("ParenBoth") else f"{label}) " if kind.endswith("ParenR") else f"{label}. "


def _write_chart(root: Any, out: TextBuilder) -> None:
    """Writes a chart's title, and its series as columns beside their categories."""
    title = root.find(f"{_C}chart/{_C}title")
    out.add(" ".join(shape_lines(title)) if title is not None else "")
    series = list(root.iter(f"{_C}ser"))
    if not series:
        return
    columns = [_points(each, "val", "yVal") for each in series]
    categories = _points(series[0], "cat", "xVal")
    rows = sorted({row for column in (categories, *columns) for row in column})[:_MAX_POINTS]
    names = [_name(each) for each in series]
    table = [[categories.get(row, ""), *(column.get(row, "") for column in columns)] for row in rows]
    out.add_table([["", *names], *table])


def _points(series: Any, *names: str) -> dict[int, str]:
    points: dict[int, str] = {}
    for name in names:
        for point in series.iterfind(f"{_C}{name}//{_C}pt"):
            index = point.get("idx", "0")
            if index.isdigit():
                points[int(index)] = point.findtext(f"{_C}v") or ""
    return points


def _name(series: Any) -> str:
    return one_line(" ".join(each.text or "" for each in series.iterfind(f"{_C}tx//{_C}v")))
