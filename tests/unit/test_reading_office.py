"""What Word, PowerPoint, Excel and PDF files become: no text is lost without a word, no cell changes its column."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from errors import Unreadable
from tests.service.test_extracting import read
from tests.support import files, office
from tests.support.office import box, paragraph, row, sheet, slides, table, word
from tests.unit.test_reading_text import codes

MACROS = "application/vnd.ms-{}.macroEnabled.main+xml"
FORMATS = "application/vnd.openxmlformats-officedocument"


def text_of(body: str, **more: dict[str, str]) -> str:
    return read(word(body, **more), "a.docx").text  # type: ignore[arg-type]


# Packages


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (word(paragraph("tide"), main="word/document7.xml"), "a.docx"),
        (word(paragraph("tide"), main="content/main.xml"), "a.docx"),
        (word(paragraph("tide"), kind=MACROS.format("word.document")), "a.docm"),
        (word(paragraph("tide"), kind=f"{FORMATS}.wordprocessingml.template.main+xml"), "a.dotx"),
        (word(paragraph("tide"), kind="application/xml"), "a"),
        (office.strict(word(paragraph("tide"))), "a.docx"),
        (slides(box("tide"), kind=f"{FORMATS}.presentationml.slideshow.main+xml"), "a.ppsx"),
        (slides(box("tide"), kind=MACROS.format("powerpoint.template")), "a.potm"),
        (office.strict(slides(box("tide"))), "a.pptx"),
        (sheet([["tide", "high"]], kind=MACROS.format("excel.sheet")), "a.xlsm"),
        (sheet([["tide", "high"]], main="xl/workbook2.xml"), "a.xlsx"),
        (sheet([["tide", "high"]], main="book/main.xml"), "a.xltx"),
        (office.strict(sheet([["tide", "high"]])), "a.xlsx"),
        (office.open_sheet([["tide", "high"]]), "a.ods"),
        (office.old_sheet([(0, 0, "tide"), (0, 1, 2.5)]), "a.xls"),
        (office.old_sheet([(0, 0, "tide"), (0, 1, 2.5)]), "a"),
    ],
)
def test_what_every_program_opens_is_read(content: bytes, name: str) -> None:
    assert "tide" in read(content, name).text


@pytest.mark.parametrize(
    ("content", "name", "why"),
    [
        (office.compound("WordDocument", b"x"), "a", "Word document of the format before 2007.*convert-to docx"),
        (office.compound("x", b"x"), "a.ppt", "presentation of the format before 2007.*convert-to pptx"),
        (office.compound("__properties_version1.0", b"x"), "a", r"message of Outlook \(.msg\).*Save it as .eml"),
        (office.compound("EncryptedPackage", b"x"), "a.xlsx", "protected by a password"),
        (files.archive({"mimetype": b"application/vnd.oasis.opendocument.text"}), "a.odt", "pandoc is installed"),
        (files.archive({"Index/Document.iwa": b"x"}), "a.pages", "Pages, Numbers or Keynote"),
    ],
)
def test_what_no_reader_is_there_for_is_refused_by_name(content: bytes, name: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read(content, name)


# Tables


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            [
                row("Pier", "Ship", "Fee"),
                row('<w:vMerge w:val="restart"/>|North', "Anna", "1"),
                row("<w:vMerge/>|", "Cora", "2"),
            ],
            "| North | Cora | 2 |",
        ),
        ([row("Pier", "Ship", "Fee"), row('<w:gridSpan w:val="2"/>|Sum', "9")], "| Sum |  | 9 |"),
        ([row("Pier", "Ship"), row("Cora", properties='<w:gridBefore w:val="1"/>')], "|  | Cora |"),
        ([row("Pier", "Ship"), row("North", properties='<w:gridAfter w:val="1"/>')], "| North |  |"),
        ([row("a", "b", "c"), row('<w:hMerge w:val="restart"/>|wide', "<w:hMerge/>|", "3")], "| wide |  | 3 |"),
        (
            [
                row('<w:gridSpan w:val="2"/><w:vMerge w:val="restart"/>|Both', "1"),
                row('<w:gridSpan w:val="2"/><w:vMerge/>|', "2"),
            ],
            "| Both |  | 2 |",
        ),
    ],
)
def test_merged_cells_of_word_stay_in_their_columns(rows: list[str], expected: str) -> None:
    assert expected in text_of(table(*rows))


def test_merged_cells_of_slides_and_sheets_stay_in_their_columns() -> None:
    def cell(text: str, attributes: str = "") -> str:
        return f"<a:tc {attributes}><a:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></a:txBody></a:tc>"

    rows = [
        cell("Pier") + cell("Ship") + cell("Fee"),
        cell("North", 'rowSpan="2"') + cell("all", 'gridSpan="2"') + cell("", 'hMerge="1"'),
        cell("", 'vMerge="1"') + cell("Cora") + cell("2"),
    ]
    lines = "".join(f"<a:tr>{each}</a:tr>" for each in rows)
    frame = (
        f"<p:graphicFrame><a:graphic><a:graphicData><a:tbl>{lines}</a:tbl></a:graphicData></a:graphic></p:graphicFrame>"
    )
    text = read(slides(frame), "a.pptx").text
    assert "| North | all |  |\n| North | Cora | 2 |" in text
    merged = '<x:mergeCells><x:mergeCell ref="A2:A3"/></x:mergeCells>'
    cells = [["Pier", "Ship", "Fee"], ["North", "Anna", "<x:v>1</x:v>"], ["", "Cora", "<x:v>2</x:v>"]]
    assert "| North | Anna | 1 |\n| North | Cora | 2 |" in read(sheet(cells, merged=merged), "a.xlsx").text


# Numbers


@pytest.mark.parametrize(
    ("code", "value", "expected"),
    [
        ("0", "0.00005", "0.00005"),
        ("0", "1234567890123456", "1234567890123456"),
        ("0", "19.899999999999999", "19.9"),
        ("0", "1E+20", "100000000000000000000"),
        ("9", "0.155", "15.5%"),
        ("10", "0.1", "10.00%"),
        ("2", "19.9", "19.90"),
        ("4", "1234567.891", "1234567.891"),
        ("00000", "1067", "01067"),
        ("000-00-0000", "12345678", "012-34-5678"),
        ("#,##0.00\\ [$€-407];[Red]-#,##0.00", "-5.5", "-5.50 €"),
        ("&quot;No. &quot;0000", "42", "No. 0042"),
        ("0.0&quot; kg&quot;", "3", "3.0 kg"),
        ("[h]:mm", "1.5", "36:00:00"),
        ("31", "45761", "2025-04-14"),
        ("14", "45761", "2025-04-14"),
        ("21", "0.9999884259259", "23:59:59"),
        ("# ?/?", "0.5", "0.5"),
        ("0,,&quot;M&quot;", "2500000", "2500000"),
    ],
)
def test_numbers_stand_as_a_cell_shows_them_and_no_digit_is_lost(code: str, value: str, expected: str) -> None:
    text = read(sheet([["What", "Value"], ["x", f"1|<x:v>{value}</x:v>"]], formats=(code,)), "a.xlsx").text
    assert text.splitlines()[-1] == f"| x | {expected} |"


def test_formulas_without_values_and_errors_are_shown_and_warned_of() -> None:
    cells = [
        ["Item", "Sum"],
        ["Rope", "<x:f>SUM(1,2)</x:f>"],
        ["Sail", "<x:f>A1&amp;B1</x:f><x:v/>"],
        ["Mast", '<x:v t="e">#DIV/0!</x:v>'],
        ["Oar", "<x:f>1+1</x:f><x:v>2</x:v>"],
    ]
    result = read(sheet(cells), "a.xlsx")
    assert "| Rope | =SUM(1,2) |\n| Sail | =A1&B1 |\n| Mast | #DIV/0! |\n| Oar | 2 |" in result.text
    assert [(each.code, each.part) for each in result.warnings] == [
        ("formulas_without_values", "Stock"),
        ("error_values", "Stock"),
    ]


def test_a_title_above_the_header_of_a_sheet_is_a_heading() -> None:
    text = read(sheet([["Fees of March"], ["Ship", "Fee"], ["Anna", "<x:v>1</x:v>"]]), "a.xlsx").text
    assert text.startswith("## Stock\n\n### Fees of March\n\n| Ship | Fee |\n")


# Word


def run(text: str, place: str) -> str:
    return f'<w:r><w:rPr><w:vertAlign w:val="{place}"/></w:rPr><w:t>{text}</w:t></w:r>'


def math(inner: str) -> str:
    return f"<w:p><m:oMathPara><m:oMath>{inner}</m:oMath></m:oMathPara></w:p>"


def r(text: str) -> str:
    return f"<m:r><m:t>{text}</m:t></m:r>"


RUBY = (
    "<w:p><w:r><w:ruby><w:rt><w:r><w:t>みなと</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>港</w:t></w:r></w:rubyBase>"
    "</w:ruby></w:r></w:p>"
)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (math(f"<m:f><m:num>{r('a+b')}</m:num><m:den>{r('2')}</m:den></m:f>"), "(a+b)/2"),
        (math(f"<m:sSup><m:e>{r('x')}</m:e><m:sup>{r('-3')}</m:sup></m:sSup>{r('=y')}"), "x^-3=y"),
        (math(f"<m:rad><m:deg>{r('3')}</m:deg><m:e>{r('x')}</m:e></m:rad>"), "√[3](x)"),
        (math(f'<m:d><m:dPr><m:begChr m:val="["/><m:endChr m:val="]"/></m:dPr><m:e>{r("z")}</m:e></m:d>'), "[z]"),
        (math(f"<m:m><m:mr><m:e>{r('1')}</m:e><m:e>{r('2')}</m:e></m:mr></m:m>"), "[1, 2]"),
        (f"<w:p><w:r><w:t>2</w:t></w:r>{run('10', 'superscript')}</w:p>", "2^10"),
        (f"<w:p><w:r><w:t>CO</w:t></w:r>{run('2', 'subscript')}</w:p>", "CO₂"),
        (RUBY, "港"),
        (
            f"<w:p><w:r><w:t>Dues</w:t></w:r><w:r><w:pict><w:txbxContent>{paragraph('Paid')}{paragraph('late')}"
            "</w:txbxContent></w:pict></w:r><w:r><w:t>Sum</w:t></w:r></w:p>",
            "Dues Sum\n\nPaid\n\nlate",
        ),
        (
            f"<mc:AlternateContent><mc:Choice/><mc:Fallback>{paragraph('old')}</mc:Fallback></mc:AlternateContent>",
            "old",
        ),
        (
            f"<mc:AlternateContent><mc:Choice>{paragraph('new')}</mc:Choice>"
            f"<mc:Fallback>{paragraph('old')}</mc:Fallback></mc:AlternateContent>",
            "new",
        ),
    ],
)  # fmt: skip
def test_text_that_stands_elsewhere_in_word_is_read(body: str, text: str) -> None:
    assert text_of(body) == text


def test_lists_of_word_keep_their_numbers_over_levels_and_restarts() -> None:
    def level(number: int, form: str, label: str, more: str = "") -> str:
        return f'<w:lvl w:ilvl="{number}"><w:numFmt w:val="{form}"/><w:lvlText w:val="{label}"/>{more}</w:lvl>'

    levels = level(0, "upperRoman", "%1.") + level(1, "decimal", "%1.%2", "<w:isLgl/>") + level(2, "bullet", "•")
    restart = '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="7"/></w:lvlOverride>'
    abstract = '<w:abstractNumId w:val="3"/>'
    numbering = office.xml(
        "w:numbering",
        f'<w:abstractNum w:abstractNumId="3">{levels}</w:abstractNum><w:num w:numId="1">{abstract}</w:num>'
        f'<w:num w:numId="2">{abstract}{restart}</w:num>',
    )
    numbered = '<w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr>'
    style = f'<w:style w:styleId="C"><w:name w:val="heading 2"/>{numbered}</w:style>'
    based = '<w:style w:styleId="D"><w:name w:val="Own"/><w:basedOn w:val="C"/></w:style>'
    styles = office.xml("w:styles", style + based)

    def item(text: str, level: int, number: int = 1) -> str:
        return paragraph(text, f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>')

    body = paragraph("Term", '<w:pStyle w:val="C"/>') + item("first", 1) + item("dot", 2) + item("second", 1)
    body += paragraph("Fees", '<w:pStyle w:val="D"/>') + item("third", 1) + item("anew", 0, 2)
    body += paragraph("none", '<w:numPr><w:numId w:val="0"/></w:numPr>')
    related = {"rId1": ("numbering", "numbering.xml"), "rId2": ("styles", "styles.xml")}
    result = read(
        word(body, parts={"word/numbering.xml": numbering, "word/styles.xml": styles}, related=related), "a.docx"
    )
    assert result.text.split("\n\n") == [
        *("## I. Term", "1.1 first", "- dot", "1.2 second", "## II. Fees", "2.1 third", "VII. anew", "none")
    ]
    assert result.title == "Term"


CHART = office.xml(
    "c:chartSpace",
    "<c:chart><c:ser><c:tx><c:v>Ships</c:v></c:tx><c:cat><c:pt idx='0'><c:v>May</c:v></c:pt></c:cat>"
    "<c:val><c:pt idx='0'><c:v>19.90</c:v></c:pt></c:val></c:ser></c:chart>",
)
DIAGRAM = office.xml("dgm:dataModel", "<dgm:pt><dgm:t><a:p><a:r><a:t>Moor the ship</a:t></a:r></a:p></dgm:t></dgm:pt>")


def test_diagrams_and_charts_of_word_and_slides_are_read() -> None:
    graphic = "<a:graphic><a:graphicData>{}</a:graphicData></a:graphic>"
    for reference, kind, content, text in (
        ('<dgm:relIds r:dm="rId9"/>', "diagramData", DIAGRAM, "Moor the ship"),
        ('<c:chart r:id="rId9"/>', "chart", CHART, "|  | Ships |\n| --- | --- |\n| May | 19.90 |"),
    ):
        related = {"rId9": (kind, "../x/data.xml")}
        drawing = f"<w:p><w:r><w:drawing>{graphic.format(reference)}</w:drawing></w:r></w:p>"
        frame = f"<p:graphicFrame>{graphic.format(reference)}</p:graphicFrame>"
        assert text_of(drawing, parts={"x/data.xml": content}, related=related) == text  # type: ignore[arg-type]
        deck = slides(frame, parts={"ppt/x/data.xml": content}, related=related)
        assert read(deck, "a.pptx").text == text


def test_files_inside_a_word_file_are_read_or_named() -> None:
    body = paragraph("Report") + '<w:altChunk r:id="rId9"/>'
    for content, name, text, warned in (
        ("<!DOCTYPE html><html><body><h2>Tides</h2><p>High", "page.html", "## Tides\n\nHigh", []),
        ("Tides & all", "note.txt", "Tides & all", []),
        ("{\\rtf1 Tides}", "part.rtf", "Report", ["part_not_read"]),
    ):
        result = read(word(body, parts={f"word/{name}": content}, related={"rId9": ("aFChunk", name)}), "a.docx")
        assert text in result.text and codes(result) == warned


def test_comments_are_named_and_read_where_there_is_nothing_else() -> None:
    comments = office.xml("w:comments", f"<w:comment>{paragraph('Is it paid?')}</w:comment>")
    more = {"parts": {"word/comments.xml": comments}, "related": {"rId9": ("comments", "comments.xml")}}
    result = read(word(paragraph("Dues"), **more), "a.docx")  # type: ignore[arg-type]
    assert (result.text, codes(result)) == ("Dues", ["comments_left_out"])
    assert read(word("<w:p/>", **more), "a.docx").text == "Is it paid?"  # type: ignore[arg-type]


def test_lists_and_powers_on_slides() -> None:
    item = '<a:p><a:pPr><a:buAutoNum type="romanLcParenR" startAt="2"/></a:pPr><a:r><a:t>{}</a:t></a:r></a:p>'
    power = '<a:p><a:r><a:t>10</a:t></a:r><a:r><a:rPr baseline="30000"/><a:t>6</a:t></a:r></a:p>'
    text = read(slides(box(item.format("moor"), item.format("pay"), power)), "a.pptx").text
    assert text == "ii) moor\niii) pay\n10^6"


# PDF


def pdf(draw: Callable[[Canvas], object]) -> bytes:
    target = io.BytesIO()
    canvas = Canvas(target, pagesize=(595, 842), invariant=1)
    draw(canvas)
    canvas.save()
    return target.getvalue()


def test_what_was_filled_in_and_noted_is_text_of_its_page() -> None:
    def draw(canvas: Canvas) -> None:
        canvas.drawString(72, 700, "Berth request")
        canvas.acroForm.textfield(name="ship", tooltip="Name of the ship", value="Anna", x=72, y=600)
        canvas.acroForm.choice(name="pier", value="North", options=["North", "South"], x=72, y=500)
        canvas.acroForm.checkbox(name="insured", checked=True, x=72, y=400)
        canvas.acroForm.checkbox(name="pilot", checked=False, x=72, y=300)
        canvas.showPage()
        canvas.drawString(72, 700, "Rules")
        canvas.textAnnotation("Ask the master", Rect=[10, 10, 20, 20])
        canvas.freeTextAnnotation("Pay first", "/Helv 10 Tf", Rect=[10, 30, 90, 60])

    text = read(pdf(draw), "a.pdf").text
    assert text.split("\f")[0].strip() == "Berth request\n\nName of the ship: Anna\npier: North\ninsured: yes"
    assert text.split("\f")[1].split("\n")[-2:] == ["Note: Ask the master", "Pay first"]


@pytest.mark.parametrize("printed", ["Page 3 of 9", "RECEIVED 2 March 2026", "ABC-000123   Confidential"])
def test_a_scan_with_a_stamp_on_it_is_a_scan(printed: str) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.drawString(72, 700, files.SEA)
        canvas.showPage()
        canvas.drawImage(ImageReader(files._picture_of_text()), 0, 0, 595, 800)
        canvas.drawString(72, 20, printed)

    result = read(pdf(draw), "a.pdf")
    assert [(each.code, each.page) for each in result.warnings] == [("scan_with_little_text", 2)]
    assert printed.split()[0] in result.text and result.warnings[0].message.startswith("page 2 is a scan, and only")


def test_a_page_of_text_with_a_picture_is_no_scan() -> None:
    def draw(canvas: Canvas) -> None:
        for line in range(9):
            canvas.drawString(72, 700 - 14 * line, files.SEA)
        canvas.drawImage(ImageReader(files._picture_of_text()), 0, 0, 595, 842)

    assert read(pdf(draw), "a.pdf").warnings == ()


def test_a_file_that_lies_in_a_pdf_is_named() -> None:
    import pypdfium2

    document = pypdfium2.PdfDocument(files.pdf())
    document.new_attachment("fees.csv").set_data(b"a,b")
    target = io.BytesIO()
    document.save(target)
    document.close()
    assert codes(read(target.getvalue(), "a.pdf")) == ["attachment_not_read"]
