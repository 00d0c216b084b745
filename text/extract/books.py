"""EPUB: the chapters of a book."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from lxml import etree

from errors import Unreadable
from text.extract.archives import check_archive
from text.extract.base import Bounds, ExtractedText, TextBuilder
from text.extract.kinds import EPUB
from text.extract.markup import write_xhtml
from text.extract.plain import declared_in_markup, decoded

_CONTAINER = "META-INF/container.xml"
_CHAPTERS = ("application/xhtml+xml", "text/html", "text/x-oeb1-document")
_CHAPTER_SUFFIXES = (".xhtml", ".html", ".htm")


def read_epub(content: bytes, bounds: Bounds) -> ExtractedText:
    """Reads the chapters of a book in reading order. A missing or damaged one is a warning."""
    check_archive(content, bounds, may_have_doctype=True)
    out = TextBuilder(bounds.chars)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = {name.lower(): name for name in archive.namelist()}
        if "meta-inf/encryption.xml" in names and "meta-inf/rights.xml" in names:
            raise Unreadable("It is protected against copying (DRM): send it without.")
        package = next(_xml(archive.read(_CONTAINER)).iter("{*}rootfile")).get("full-path")
        book = _xml(archive.read(package))
        for href in _chapters(book):
            name = posixpath.normpath(posixpath.join(posixpath.dirname(package), unquote(href.partition("#")[0])))
            _write_chapter(archive, names.get(name.lower(), name), out)
    title = next((each.text for each in book.iter("{*}title")), None)
    return out.extracted(EPUB.mime_type, "markdown", title)


def _chapters(book: Any) -> Iterator[str]:
    """Yields the chapters without the table of contents; all of them if the book declares no order."""
    items = {item.get("id"): item for item in book.iter("{*}item") if _is_chapter(item)}
    spine = [reference.get("idref") for reference in book.iter("{*}itemref")]
    for name in spine if any(name in items for name in spine) else items:
        if name in items and (href := items[name].get("href")):
            yield href


def _is_chapter(item: Any) -> bool:
    is_page = item.get("media-type") in _CHAPTERS or (item.get("href") or "").lower().endswith(_CHAPTER_SUFFIXES)
    return is_page and "nav" not in (item.get("properties") or "").split()


def _write_chapter(archive: zipfile.ZipFile, name: str, out: TextBuilder) -> None:
    try:
        content = archive.read(name)
    except KeyError:
        out.warn("part_missing", f"The chapter {name!r} is not in the file.", part=name)
        return
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        out.warn("part_damaged", f"The chapter {name!r} is damaged ({error}).", part=name)
        return
    chapter = decoded(content, declared_in_markup(content))
    for caveat in chapter.caveats:
        out.warn(caveat.code, f"The chapter {name!r}: {caveat.message}", part=name)
    write_xhtml(chapter.text, out)


def _xml(content: bytes) -> Any:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    root = etree.fromstring(content, parser)
    if root is None:
        raise ValueError("there is no XML in it")
    return root
