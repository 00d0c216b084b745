"""PowerPoint files: each slide is a page, its title a heading."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from text.extract.archives import check_archive
from text.extract.base import Bounds, ExtractedText, Pieces, check_pages, one_line, without_page_marks
from text.extract.kinds import PPTX


def read_pptx(content: bytes, bounds: Bounds) -> ExtractedText:
    """Titles, texts, tables and speaker's notes, slide by slide."""
    from pptx import Presentation

    check_archive(content, bounds, may_have_doctype=False)
    presentation = Presentation(io.BytesIO(content))
    check_pages(len(presentation.slides), bounds)
    out = Pieces(bounds.chars)
    for number, slide in enumerate(presentation.slides):
        if number:
            out.add_page_break()
        title = slide.shapes.title
        if title is not None:
            out.add_heading(1, title.text_frame.text)
        _write(slide.shapes, out, but=title)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            notes = one_line(slide.notes_slide.notes_text_frame.text)
            out.add(f"Notes: {notes}" if notes else "")
    title = one_line(presentation.core_properties.title or "")
    return ExtractedText(out.text(), PPTX.mime_type, out.strategy("markdown"), title or None)


def _write(shapes: Iterable[Any], out: Pieces, *, but: Any) -> None:
    for shape in shapes:
        if but is not None and shape.shape_id == but.shape_id:
            continue
        if hasattr(shape, "shapes"):
            _write(shape.shapes, out, but=but)
        elif getattr(shape, "has_table", False):
            out.add_table([cell.text for cell in row.cells] for row in shape.table.rows)
        elif shape.has_text_frame:
            lines = [one_line(paragraph.text) for paragraph in shape.text_frame.paragraphs]
            out.add(without_page_marks("\n".join(line for line in lines if line)))
