"""Builds a small file of each type, and malicious files, on demand."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Callable, Mapping
from datetime import datetime
from email.message import EmailMessage
from functools import cache

import docx
import pptx
import pypdfium2
from docx.enum.text import WD_BREAK
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from xlsxwriter import Workbook

SEA = "Ships sail the seven seas, and the harbour master keeps a list of them."
FEES = "Fees are paid every year in March, in the office beside the lighthouse."
SHIPS = [["Ship", "Length", "Fee"], ["Anna", "12 m", "100"], ["Bertha", "24 m", "230"]]


@cache
def pdf(*, password: str | None = None) -> bytes:
    """Two pages, each with a heading; a table on the second."""

    def draw(canvas: Canvas) -> None:
        _write(canvas, "Harbour", SEA)
        canvas.showPage()
        _write(canvas, "Fees", FEES)
        for row, cells in enumerate(SHIPS):
            for column, cell in enumerate(cells):
                canvas.drawString(72 + 120 * column, 600 - 14 * row, cell)

    return _pdf(draw, encrypt=StandardEncryption(password) if password else None)


@cache
def pdf_of(pages: int) -> bytes:
    """Empty pages."""
    return _pdf(lambda canvas: [canvas.showPage() for _ in range(pages)])


@cache
def scanned_pdf(*, with_text: bool) -> bytes:
    """Three pages, of which the last is a picture of text; or, without *with_text*, that picture alone."""

    def draw(canvas: Canvas) -> None:
        for title, text in (("Harbour", SEA), ("Fees", FEES)) if with_text else ():
            _write(canvas, title, text)
            canvas.showPage()
        canvas.drawImage(ImageReader(_picture_of_text()), 0, 0, 595, 842)
        canvas.showPage()

    return _pdf(draw)


def justified_pdf() -> bytes:
    """A narrow column, its lines stretched to the same length."""

    def draw(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", 12)
        for row, words in enumerate(
            [("internationalisation", "responsibilities"), ("notwithstanding", "harbours")] * 4
        ):
            canvas.drawString(72, 700 - 14 * row, words[0])
            canvas.drawRightString(320, 700 - 14 * row, words[1])

    return _pdf(draw)


@cache
def word() -> bytes:
    document = docx.Document()
    document.core_properties.title = "The Harbour"
    document.add_heading("Harbour", 1)
    document.add_paragraph(SEA)
    document.add_paragraph("A first item", "List Bullet")
    document.add_heading("Fees", 2)
    document.add_paragraph().add_run().add_break(WD_BREAK.PAGE)
    document.add_paragraph(FEES)
    table = document.add_table(rows=0, cols=3)
    for cells in SHIPS:
        for cell, content in zip(table.add_row().cells, cells, strict=True):
            cell.text = content
    return _saved(document.save)


def powerpoint() -> bytes:
    presentation = pptx.Presentation()
    for title, text in (("Harbour", SEA), ("Fees", FEES)):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = text
    slide.notes_slide.notes_text_frame.text = "Say it slowly."
    table = slide.shapes.add_table(3, 3, 0, 0, 100, 100).table
    for row, cells in enumerate(SHIPS):
        for column, content in enumerate(cells):
            table.cell(row, column).text = content
    return _saved(presentation.save)


def excel() -> bytes:
    target = io.BytesIO()
    with Workbook(target) as book:
        book.set_properties({"created": datetime(2026, 1, 1)})
        ships = book.add_worksheet("Ships")
        ships.write(0, 0, "All ships of the year")
        for row, cells in enumerate(SHIPS):
            for column, content in enumerate(cells):
                ships.write(row + 2, column, int(content) if content.isdigit() else content)
        book.add_worksheet("Empty")
        book.add_worksheet("Crew").write_row(0, 0, ["Name", 1.5])
    return archive(parts_of(target.getvalue()))


def epub() -> bytes:
    chapters = {"one": ("Harbour", SEA), "two": ("Fees", FEES)}
    items = "".join(f'<item id="{name}" href="{name}.xhtml" media-type="application/xhtml+xml"/>' for name in chapters)
    spine = "".join(f'<itemref idref="{name}"/>' for name in chapters)
    parts = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
        "OEBPS/book.opf": '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/'
        f'elements/1.1/"><dc:title>The Harbour</dc:title></metadata><manifest>{items}</manifest>'
        f"<spine>{spine}</spine></package>",
    }
    for name, (title, text) in chapters.items():
        parts[f"OEBPS/{name}.xhtml"] = (
            '<!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head>'
            f"<body><h1>{title}</h1><p>{text}&nbsp;&copy;</p></body></html>"
        )
    return archive({name: content.encode() for name, content in parts.items()})


def mail() -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Ann <ann@example.org>", "bob@example.org", "The Harbour"
    message.set_content(f"Dear Bob,\n\n{SEA}\n")
    message.add_alternative(f"<p>{SEA}</p>", subtype="html")
    message.add_attachment(b"%PDF-", maintype="application", subtype="pdf", filename="fees.pdf")
    body, _ = message.iter_parts()
    message.set_boundary("part")
    body.set_boundary("body")
    return message.as_bytes()


def html() -> bytes:
    rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" for cells in SHIPS)
    return (
        '<!doctype html><html><head><meta charset="utf-8"><title>The Harbour</title><style>p {}</style></head><body>'
        f"<nav>Home</nav><h1>Harbour</h1><p>{SEA}</p><script>alert('gone')</script><ul><li>A first item</ul>"
        f"<h2>Fees</h2><p>{FEES}</p><table>{rows}</table></body></html>"
    ).encode()


MARKDOWN = f"# Harbour\n\n{SEA}\n\n## Fees\n\n{FEES}\n".encode()
CSV = "\n".join(",".join(cells) for cells in SHIPS).encode()
JSON = b'{"harbour": {"name": "North", "ships": [{"name": "Anna", "fees": [1, 2]}]}}'


@cache
def word_bomb(megabytes: int) -> bytes:
    """A Word file whose text is mostly one letter: small, until it is unpacked."""
    parts = parts_of(word())
    paragraph = b"<w:p><w:r><w:t>" + b"x" * 9000 + b"</w:t></w:r></w:p>"
    body = parts["word/document.xml"]
    parts["word/document.xml"] = body.replace(b"<w:body>", b"<w:body>" + paragraph * (megabytes * 111))
    return archive(parts)


def word_with_entities() -> bytes:
    """A billion laughs."""
    parts = parts_of(word())
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    _, _, rest = parts["word/document.xml"].partition(b"?>")
    doctype = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ha">{laughs}]>'.encode()
    parts["word/document.xml"] = doctype + rest.replace(SEA.encode(), b"&a9;")
    return archive(parts)


def archive(parts: Mapping[str, bytes]) -> bytes:
    """The same bytes at any time."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return target.getvalue()


def parts_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    target = io.BytesIO()
    save(target)
    return archive(parts_of(target.getvalue()))


def _pdf(draw: Callable[[Canvas], object], encrypt: StandardEncryption | None = None) -> bytes:
    target = io.BytesIO()
    canvas = Canvas(target, pagesize=(595, 842), encrypt=encrypt, invariant=1)
    canvas.setTitle("The Harbour")
    draw(canvas)
    canvas.save()
    return target.getvalue()


def _write(canvas: Canvas, title: str, text: str) -> None:
    canvas.setFont("Helvetica-Bold", 20)
    canvas.drawString(72, 760, title)
    canvas.setFont("Helvetica", 10)
    canvas.drawString(72, 720, text)


def _picture_of_text() -> io.BytesIO:
    """The second page of the PDF above, as a scanner would have it."""
    with contextlib.closing(pypdfium2.PdfDocument(pdf())) as document:
        picture = document[1].render(scale=3).to_pil()
    target = io.BytesIO()
    picture.save(target, "PNG")
    target.seek(0)
    return target
