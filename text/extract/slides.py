"""PowerPoint files: each slide is a page, its title a heading."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from text.extract.base import Bounds, ExtractedText, TextBuilder, check_pages, one_line
from text.extract.drawings import A, shape_lines, write_graphics
from text.extract.kinds import PPTX
from text.extract.packages import Package, R, open_package
from text.extract.tables import Grid

_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_SHAPES = {f"{_P}{name}" for name in ("sp", "cxnSp", "graphicFrame")}
_TITLES = ("title", "ctrTitle")


def read_pptx(content: bytes, bounds: Bounds) -> ExtractedText:
    """Reads titles, texts, tables, SmartArt, charts and speaker notes, slide by slide."""
    package = open_package(content, bounds)
    slides = list(_slides(package))
    check_pages(len(slides), bounds)
    out = TextBuilder(bounds.chars)
    for number, part in enumerate(slides, 1):
        if number > 1:
            out.add_page_break()
        slide = package.xml(part)
        if slide is None:
            out.warn("part_missing", f"Slide {number} is not in the file.", page=number, part=part)
        else:
            _write_slide(package, part, slide, out)
        if package.related(part, "comments"):
            out.warn("comments_left_out", f"The comments on slide {number} are not read.", page=number)
    return out.extracted(PPTX.mime_type, "markdown", package.title())


def _slides(package: Package) -> Iterator[str]:
    relations = package.relations(package.main)
    for slide in package.xml(package.main).iter(f"{_P}sldId"):
        relation = relations.get(slide.get(f"{R}id", ""))
        if relation is not None and relation.target:
            yield relation.target


def _write_slide(package: Package, part: str, slide: Any, out: TextBuilder) -> None:
    shapes = list(_shapes(slide))
    title = next((each for each in shapes if _placeholder(each) in _TITLES), None)
    if title is not None:
        out.add_heading(1, " ".join(shape_lines(title)))
    for shape in shapes:
        if shape is not title:
            _write_shape(package, part, shape, out)
    for notes in package.related(part, "notesSlide"):
        root = package.xml(notes)
        for shape in _shapes(root) if root is not None else ():
            if _placeholder(shape) == "body" and (lines := shape_lines(shape)):
                out.add(f"Notes: {one_line(' '.join(lines))}")


def _write_shape(package: Package, part: str, shape: Any, out: TextBuilder) -> None:
    table = next(shape.iter(f"{A}tbl"), None)
    if table is not None:
        out.add_table(_grid(table).texts())
    elif shape.tag == f"{_P}graphicFrame":
        write_graphics(package, part, shape, out)
    else:
        out.add("\n".join(shape_lines(shape)))


def _shapes(slide: Any) -> Iterator[Any]:
    """Yields the shapes, those in groups and alternatives too, but none inside another."""
    for child in slide:
        if child.tag in _SHAPES:
            yield child
        else:
            yield from _shapes(child)


def _placeholder(shape: Any) -> str:
    """Returns the type of the shape's placeholder, "body" by default; "" if it is none."""
    place = shape.find(f"{_P}nvSpPr/{_P}nvPr/{_P}ph")
    return place.get("type", "body") if place is not None else ""


def _grid(table: Any) -> Grid:
    grid = Grid()
    for row in table.iter(f"{A}tr"):
        grid.begin_row()
        for cell in row.iter(f"{A}tc"):
            if cell.get("vMerge") in ("1", "true"):
                grid.continue_cell()
            elif cell.get("hMerge") in ("1", "true"):
                grid.skip(1)
            else:
                grid.add_cell(" ".join(shape_lines(cell)))
    return grid
