"""Scanned pages of a PDF: detects them, renders them for OCR, and warns of those that were not read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from text.extract.base import TextBuilder, page_ranges

_OCR_SCALE = 300 / 72
_MAX_OCR_PIXELS = 40_000_000
_MAX_CHARS_ON_SCAN = 200  # characters: a stamp, a page number
_MIN_PICTURE_SHARE = 0.5  # of the page's area
_MAX_PICTURES = 1000


def is_picture(page: Any, *, chars: int) -> bool:
    """Is the page a scan, with little or no text?"""
    if chars > _MAX_CHARS_ON_SCAN:
        return False
    pictures = list(islice(page.get_objects(filter=[pdfium_c.FPDF_PAGEOBJ_IMAGE]), _MAX_PICTURES))
    if not chars or not pictures:
        return bool(pictures)
    width, height = page.get_size()
    return sum(map(_area, pictures)) >= _MIN_PICTURE_SHARE * float(width * height)


def picture_of(page: Any) -> bytes:
    """Renders a page as a grey picture, PGM."""
    width, height = page.get_size()
    scale = min(_OCR_SCALE, (_MAX_OCR_PIXELS / max(width * height, 1)) ** 0.5)
    bitmap = page.render(scale=scale, grayscale=True)
    try:
        pixels = bytes(bitmap.buffer)
        rows = (pixels[row * bitmap.stride : row * bitmap.stride + bitmap.width] for row in range(bitmap.height))
        return b"P5 %d %d 255\n" % (bitmap.width, bitmap.height) + b"".join(rows)
    finally:
        bitmap.close()


def warn_of_scans(scans: Sequence[tuple[int, bool]], out: TextBuilder, *, has_ocr: bool) -> str:
    """Warns of *scans*, the numbers of unread pages, each with whether it has no text at all. Returns the message about
    those without any text.
    """
    why = "OCR found no text on it" if has_ocr else "OCR is off"
    blank = [number for number, is_blank in scans if is_blank]
    printed_on = [number for number, is_blank in scans if not is_blank]
    without_text = f"{_scanned_pages(blank)} without text: {why}." if blank else ""
    for number in blank:
        out.warn("scan_without_text", without_text, page=number)
    for number in printed_on:
        message = f"{_scanned_pages(printed_on)}, and only what is printed on it is text: {why}."
        out.warn("scan_with_little_text", message, page=number)
    return without_text


def _scanned_pages(pages: Sequence[int]) -> str:
    return f"{page_ranges(pages)} {'are scans' if len(pages) > 1 else 'is a scan'}"


def _area(picture: Any) -> float:
    try:
        left, bottom, right, top = picture.get_bounds()
    except pdfium.PdfiumError:
        return 0.0
    return float((right - left) * (top - bottom))
