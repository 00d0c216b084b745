"""What each type of file is as text: its words, its pages, its headings, its tables; and what is refused in words."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from domain import Span
from engines.extraction import extractor
from engines.extraction.extractor import ExtractionLimits, Extractor
from engines.extraction.ocr import has_tesseract
from errors import Unreadable, WorkerStopping
from tests.support import files
from tests.support.processes import until
from tests.support.prose import count_words
from text.chunkers import chunk
from text.extract import extract
from text.extract.base import Bounds, ExtractedText
from text.extract.plain import decode

BOUNDS = Bounds(pages=100, chars=1_000_000, unpacked_bytes=64 << 20)
LIMITS = ExtractionLimits(memory_bytes=1 << 30, cpu_seconds=60, wall_seconds=120, pages=100, chars=1_000_000)
TABLE = "| Ship | Length | Fee |\n| --- | --- | --- |\n| Anna | 12 m | 100 |\n| Bertha | 24 m | 230 |"


def read(content: bytes, filename: str, declared: str = "") -> ExtractedText:
    return extract(content, filename, bounds=BOUNDS, declared=declared)


def chunks(result: ExtractedText) -> list[Span]:
    return chunk(result.text, result.strategy, max_tokens=60, overlap_chars=0, count_tokens=count_words)


def messages(result: ExtractedText) -> list[str]:
    return [each.message for each in result.warnings]


def about(result: ExtractedText, phrase: str) -> Span:
    """The one chunk that says so."""
    [span] = [span for span in chunks(result) if phrase in span.text]
    return span


@pytest.mark.parametrize(
    ("content", "filename", "mime_type", "title", "pages"),
    [
        (files.pdf(), "a.pdf", "application/pdf", "The Harbour", (1, 2)),
        (files.word(), "a.docx", "wordprocessingml.document", "The Harbour", (1, 2)),
        (files.powerpoint(), "a.pptx", "presentationml.presentation", None, (1, 2)),
        (files.epub(), "a.epub", "application/epub+zip", "The Harbour", (None, None)),
        (files.html(), "a.html", "text/html", "The Harbour", (None, None)),
        (files.MARKDOWN, "a.md", "text/markdown", None, (None, None)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_document_keeps_its_words_its_headings_and_its_pages(
    content: bytes, filename: str, mime_type: str, title: str | None, pages: tuple[int | None, int | None]
) -> None:
    result = read(content, filename)
    assert (result.mime_type.rpartition("-")[2] if "officedocument" in mime_type else result.mime_type).endswith(
        mime_type
    )
    assert result.title == title
    sea, fees = about(result, files.SEA), about(result, files.FEES)
    assert (sea.section[-1], fees.section[-1]) == ("Harbour", "Fees")
    assert (sea.page_start, fees.page_end) == pages
    assert "gone" not in result.text


@pytest.mark.parametrize(
    ("content", "filename", "section"),
    [
        (files.pdf(), "a.pdf", "Fees"),
        (files.word(), "a.docx", "Fees"),
        (files.powerpoint(), "a.pptx", "Fees"),
        (files.excel(), "a.xlsx", "Ships"),
        (files.html(), "a.html", "Fees"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_table_can_be_read_and_stands_below_its_heading(content: bytes, filename: str, section: str) -> None:
    span = about(read(content, filename), "Bertha")
    assert TABLE in span.text
    assert span.section[-1] == section


def test_what_was_inserted_under_revision_counts_and_what_was_deleted_does_not() -> None:
    parts = files.parts_of(files.word())
    body = parts["word/document.xml"]
    run = "<w:r><w:t>{}</w:t></w:r>"
    paragraphs = (
        f"<w:p><w:ins w:id='1'>{run.format('inserted ')}</w:ins>{run.format('kept ')}"
        f"<w:del w:id='2'><w:r><w:delText>deleted</w:delText></w:r></w:del>"
        f"<w:moveFrom w:id='3'>{run.format('moved away')}</w:moveFrom></w:p>"
        f"<w:sdt><w:sdtContent><w:p>{run.format('in a control')}</w:p></w:sdtContent></w:sdt>"
        f"<w:p><w:r><w:lastRenderedPageBreak/><w:t>on page two</w:t></w:r></w:p>"
    )
    parts["word/document.xml"] = body.replace(b"<w:body>", b"<w:body>" + paragraphs.encode())
    result = read(files.archive(parts), "a.docx")
    assert result.text.startswith("inserted kept\n\nin a control\n\n\f\n\non page two")
    assert about(result, files.FEES).page_end == 2, "where Word noted its pages, a break that was set by hand is none"


def test_words_that_stand_apart_in_narrow_columns_are_no_table() -> None:
    result = read(files.justified_pdf(), "a.pdf")
    assert (result.strategy, result.text.count("|"), result.text.count("\n\n")) == ("default", 0, 0)


def test_rows_of_separated_values_come_with_their_header() -> None:
    result = read(files.CSV + b"\nCora,9 m,80" * 40, "ships.csv")
    assert (result.mime_type, result.strategy) == ("text/csv", "table")
    assert all(span.text.startswith("Ship,Length,Fee\n") for span in chunks(result)) and len(chunks(result)) > 1


def test_json_says_where_each_value_stands_and_a_list_of_objects_is_a_table() -> None:
    result = read(files.JSON, "harbour.json")
    assert result.text.splitlines() == [
        "harbour.name: North",
        "harbour.ships[0].name: Anna",
        "harbour.ships[0].fees: 1, 2",
    ]
    rows = [{"Ship": "Anna", "Fee": 100}, {"Ship": "Bertha", "Fee": None}]
    assert read(json.dumps(rows).encode(), "a.json").text.endswith("| Anna | 100 |\n| Bertha |  |")
    assert "b: 2" in read(b'{"a": [1], "b": 1}\n{"a": [], "b": 2}\n', "lines.jsonl").text
    deep = b"[" * 100_000 + b"]" * 100_000
    assert read(deep, "deep.json").text == deep.decode()


def test_a_mail_is_its_head_and_its_text_and_names_what_is_attached() -> None:
    result = read(files.mail(), "letter.eml")
    assert result.title == "The Harbour"
    assert result.text.startswith("# The Harbour\n\nFrom: Ann <ann@example.org>")
    assert result.text.count(files.SEA) == 1
    assert messages(result) == ["The attachment 'fees.pdf' is not read: send it by itself."]


def test_what_a_file_is_is_said_by_its_content_and_not_by_its_name() -> None:
    assert read(files.pdf(), "notes.txt").mime_type == "application/pdf"
    assert read(files.word(), "book.epub").mime_type.endswith("wordprocessingml.document")
    assert read(files.html(), "page.txt").mime_type == "text/html"
    assert read(files.html(), "page", "text/html; charset=utf-8").mime_type == "text/html"
    assert read(b"a,b\n1,2", "download", "text/csv").mime_type == "text/csv"


@pytest.mark.parametrize(
    ("build", "filename", "why"),
    [
        (lambda: files.pdf(password="secret"), "a.pdf", "It is protected by a password"),
        (lambda: files.scanned_pdf(with_text=False), "a.pdf", "Page 1 is a scan without text: OCR is off."),
        (lambda: files.pdf_of(2), "a.pdf", "It has no text on any page."),
        (lambda: files.pdf_of(101), "a.pdf", r"It has 101 pages; at most 100 are accepted \(MAX_PAGES\)"),
        (lambda: files.pdf()[:900], "a.pdf", "It is damaged, or not a PDF"),
        (lambda: files.word()[:-900], "a.docx", "It is damaged, or not really DOCX"),
        (lambda: files.word_bomb(80), "a.docx", r"would unpack to \d+ MB; at most 64 MB are unpacked"),
        (lambda: files.word_bomb(2), "a.docx", r"It has more than 1000000 characters of text \(MAX_TEXT_CHARS\)"),
        (lambda: files.word_with_entities(), "a.docx", "Its XML defines entities"),
        (lambda: files.archive({"a.txt": b"text"}), "a.zip", "It is a ZIP archive that is none of DOCX"),
        (lambda: b"not a PDF", "a.pdf", "It is called a PDF but is not one: its content is text."),
        (lambda: b"\x89PNG\r\n\x1a\n\x00\x00", "a.png", "It is none of the files that can be read"),
        (lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a.doc", "Word document of the format before 2007"),
        (lambda: b" \n\t\x0c", "a.txt", "It has no text"),
        (lambda: b"<html>" + b"<div>" * 50_000 + b"deep", "a.html", "nested deeper"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_file_that_cannot_be_read_is_refused_in_words(build: Callable[[], bytes], filename: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read(build(), filename)


def test_a_page_that_is_a_picture_is_told_and_the_others_are_read() -> None:
    result = read(files.scanned_pdf(with_text=True), "a.pdf")
    assert messages(result) == ["page 3 is a scan without text: OCR is off."]
    assert [(each.code, each.page) for each in result.warnings] == [("scan_without_text", 3)]
    assert files.SEA in result.text


@pytest.mark.parametrize(
    ("content", "declared"),
    [
        ("Grüße aus Köln".encode("latin-1"), ""),
        ("Grüße aus Köln".encode("utf-16"), ""),
        ("Grüße aus Köln".encode("utf-16-le"), ""),
        ("Grüße aus Köln".encode("utf-16-be"), ""),
        ("Grüße aus Köln".encode("cp850"), "text/plain; charset=cp850"),
        ("Grüße aus Köln".encode("latin-1"), "text/plain; charset=no-such-charset"),
    ],
)
def test_old_and_wide_encodings_are_read(content: bytes, declared: str) -> None:
    assert read(content, "a.txt", declared).text == "Grüße aus Köln"


def test_a_page_in_an_old_encoding_says_itself_which() -> None:
    assert read('<html><meta charset="koi8-r"><p>Корабли'.encode("koi8-r"), "a.html").text == "Корабли"


def test_a_letter_that_the_first_bytes_end_amid_does_no_harm() -> None:
    text = "ä" * 8192
    assert read(b"x" + text.encode(), "a.txt").text == "x" + text
    with pytest.raises(Unreadable, match="binary"):
        decode(b"\x00\x01\x02\x03binary")


# The process in which it happens


@contextmanager
def running(path: Path, limits: ExtractionLimits = LIMITS) -> Iterator[psutil.Process]:
    """The child that reads *path*, while it does."""
    reading = threading.Thread(target=lambda: _quietly(lambda: Extractor(limits).extract(path, path.name)))
    reading.start()
    try:
        until(lambda: bool(_readers()))
        yield _readers()[0]
    finally:
        path.open("wb").close()  # whoever waits for the pipe goes on
        reading.join(30)


def _readers() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [each for each in children if "engines.extraction.child" in each.cmdline()]


def _quietly(act: Callable[[], object]) -> None:
    try:
        act()
    except Unreadable:
        return


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are read from /proc")
def test_a_file_is_read_in_a_process_with_limits_and_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    pipe = tmp_path / "pipe.txt"
    subprocess.run(["mkfifo", pipe], check=True)
    with running(pipe) as child:
        until(lambda: child.rlimit(psutil.RLIMIT_CPU)[0] == LIMITS.cpu_seconds)
        assert child.rlimit(psutil.RLIMIT_AS) == (LIMITS.memory_bytes, LIMITS.memory_bytes)
        assert child.rlimit(psutil.RLIMIT_FSIZE)[0] < 10 * LIMITS.chars
        assert "secret" not in str(child.environ())
        assert "DATABASE_URL" not in child.environ()


def test_what_takes_too_much_memory_costs_its_own_process_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(files.word_bomb(100))
    limits = ExtractionLimits(memory_bytes=192 << 20, cpu_seconds=60, wall_seconds=120, pages=100, chars=1 << 30)
    with pytest.raises(Unreadable, match="192 MB of memory"):
        Extractor(limits).extract(path, path.name)


def test_what_takes_too_much_processor_time_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_bytes(b"<table><tr>" + b"<td>" * 3_000_000)
    limits = ExtractionLimits(memory_bytes=4 << 30, cpu_seconds=1, wall_seconds=120, pages=100, chars=1 << 30)
    with pytest.raises(Unreadable, match="more than 1 s of processor time"):
        Extractor(limits).extract(path, path.name)


def test_what_takes_too_long_is_ended(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.txt"
    subprocess.run(["mkfifo", pipe], check=True)
    limits = ExtractionLimits(memory_bytes=1 << 30, cpu_seconds=60, wall_seconds=0.1, pages=100, chars=1000)
    with pytest.raises(Unreadable, match="longer than 0 s"):
        Extractor(limits).extract(pipe, pipe.name)
    assert _readers() == []


def test_a_file_that_was_read_while_its_worker_did_something_else_is_not_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extractor, "_POLL_SECONDS", 0.001)
    path = tmp_path / "cats.txt"
    path.write_text("Cats sleep.")
    limits = ExtractionLimits(memory_bytes=1 << 30, cpu_seconds=60, wall_seconds=1, pages=100, chars=1000)

    def do_something_else() -> None:
        until(lambda: any(each.status() == psutil.STATUS_ZOMBIE for each in psutil.Process().children()))
        time.sleep(1)

    assert Extractor(limits).extract(path, path.name, check=do_something_else).text == "Cats sleep."


def test_a_worker_that_stops_does_not_wait_for_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.txt"
    subprocess.run(["mkfifo", pipe], check=True)

    def stop() -> None:
        raise WorkerStopping("now")

    with pytest.raises(WorkerStopping):
        Extractor(LIMITS).extract(pipe, pipe.name, check=stop)
    assert _readers() == []


def test_a_parser_that_dies_is_told_in_words(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.txt"
    subprocess.run(["mkfifo", pipe], check=True)
    messages: list[str] = []

    def read_it() -> None:
        with pytest.raises(Unreadable) as refused:
            Extractor(LIMITS).extract(pipe, pipe.name)
        messages.append(str(refused.value))

    reading = threading.Thread(target=read_it)
    reading.start()
    until(lambda: bool(_readers()))
    _readers()[0].send_signal(signal.SIGSEGV)
    reading.join(30)
    assert messages == ["Its parser died: it is damaged, or takes more than 1024 MB of memory (EXTRACT_MEMORY_MB)."]


@pytest.mark.skipif(not has_tesseract(), reason="tesseract is not installed")
def test_a_scan_is_read_where_ocr_is_on(tmp_path: Path) -> None:
    path = tmp_path / "scan.pdf"
    path.write_bytes(files.scanned_pdf(with_text=False))
    limits = ExtractionLimits(1 << 30, 60, 120, pages=100, chars=1_000_000, ocr_languages="eng")
    result = Extractor(limits).extract(path, path.name)
    assert "harbour" not in result.text and "paid every year in March" in result.text
    assert result.warnings == ()


def test_a_scan_is_refused_where_ocr_is_on_and_tesseract_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("tesseract") is None
    path = tmp_path / "scan.pdf"
    path.write_bytes(files.scanned_pdf(with_text=False))
    limits = ExtractionLimits(1 << 30, 60, 120, pages=100, chars=1_000_000, ocr_languages="eng")
    with pytest.raises(Unreadable, match="tesseract is not installed"):
        Extractor(limits).extract(path, path.name)
