"""EPUB: the chapters of a book."""

from __future__ import annotations

import io
import posixpath
import zipfile
from urllib.parse import unquote

from lxml import etree

from errors import Unreadable
from text.extract.archives import check_archive
from text.extract.base import Bounds, ExtractedText, Pieces, one_line
from text.extract.kinds import EPUB
from text.extract.markup import write_xhtml

_CHAPTERS = ("application/xhtml+xml", "text/html")


def read_epub(content: bytes, bounds: Bounds) -> ExtractedText:
    """The chapters of a book in the order in which they are read."""
    check_archive(content, bounds, may_have_doctype=True)
    out = Pieces(bounds.chars)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if "META-INF/encryption.xml" in archive.namelist() and "META-INF/rights.xml" in archive.namelist():
            raise Unreadable("It is protected against copying (DRM): send it without.")
        container = _xml(archive.read(EPUB.part))
        package = _first(container, "rootfile").get("full-path")
        book = _xml(archive.read(package))
        hrefs = {
            item.get("id"): item.get("href")
            for item in book.iter("{*}item")
            if item.get("media-type") in _CHAPTERS and "nav" not in (item.get("properties") or "").split()
        }
        for reference in book.iter("{*}itemref"):
            href = hrefs.get(reference.get("idref"))
            if href is not None:
                write_xhtml(archive.read(posixpath.normpath(_beside(package, href))), out)
    title = next((one_line(each.text or "") for each in book.iter("{*}title")), None)
    return ExtractedText(out.text(), EPUB.mime_type, out.strategy("markdown"), title or None)


def _xml(content: bytes) -> etree._Element:
    return etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True))


def _first(tree: etree._Element, name: str) -> etree._Element:
    return next(tree.iter(f"{{*}}{name}"))


def _beside(package: str, href: str) -> str:
    return posixpath.join(posixpath.dirname(package), unquote(href.partition("#")[0]))
