"""What mail, pages, books, JSON and text become: every character as it was meant, and a warning where it is not."""

from __future__ import annotations

import json
from email.message import EmailMessage

import pytest

from errors import Unreadable
from tests.service.test_extracting import read
from tests.support import files
from text.extract.base import ExtractedText
from text.extract.plain import decoded

HEAD = "From: Ann <ann@example.org>\r\nTo: bob@example.org\r\nSubject: Harbour\r\nMIME-Version: 1.0\r\n"


def codes(result: ExtractedText) -> list[str]:
    return [each.code for each in result.warnings]


def page(body: str) -> str:
    return read(f"<html><body>{body}</body></html>".encode(), "a.html").text


def mail(rest: str | bytes, head: str = HEAD) -> ExtractedText:
    return read(head.encode() + (rest if isinstance(rest, bytes) else rest.encode()), "letter.eml", "message/rfc822")


def part(content: str, kind: str = "text/plain; charset=utf-8", more: str = "") -> str:
    return f"--edge\r\nContent-Type: {kind}\r\n{more}\r\n{content}\r\n"


def parts(kind: str, *each: str) -> str:
    return f"Content-Type: multipart/{kind}; boundary=edge\r\n\r\n{''.join(each)}--edge--\r\n"


# Mail


@pytest.mark.parametrize(
    "before",
    [
        "DKIM-Signature: v=1; a=rsa-sha256;\r\n\tb=abcdef\r\n",
        "Content-Type: text/plain; charset=utf-8\r\n",
        "From ann@example.org Mon Mar  2 10:00:00 2026\n",
        "\r\nX-Spam-Status: No\r\nAuthentication-Results: mx.example.org;\r\n dkim=pass\r\n",
        "X_Under.Score: 1\r\n",
    ],
)
@pytest.mark.parametrize("name", ["letter.eml", "letter", "letter.txt"])
def test_a_mail_is_one_whatever_header_comes_first(before: str, name: str) -> None:
    result = read(f"{before}{HEAD}Date: Mon, 2 Mar 2026 10:00:00 +0100\r\n\r\nThe lock is repaired.\r\n".encode(), name)
    assert (result.mime_type, result.title) == ("message/rfc822", "Harbour")
    assert result.text.endswith("The lock is repaired.") and "Spam" not in result.text


def test_prose_that_begins_like_headers_is_text() -> None:
    for text in ("Note: bring rope\nTo: the pier\n\nSubject: none", "From: here\nand on\nTo: there\nDate: now\n"):
        assert read(text.encode(), "notes.txt").mime_type == "text/plain"


def test_a_mailbox_is_all_of_its_messages() -> None:
    one = "From ann@example.org Mon Mar  2 10:00:00 2026\n" + HEAD.replace("\r\n", "\n")
    result = read(f"{one}\nFirst.\n>From the pier.\n\n{one}\nSecond.\n".encode(), "letters.mbox")
    assert result.text.count("# Harbour") == 2 and "First.\nFrom the pier." in result.text and "Second." in result.text


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (parts("mixed", part("Before."), part("x", "image/png"), part("After.")), ["Before.", "After."]),
        (parts("alternative", part(" \r\n\r\n"), part("<p>Only here", "text/html")), ["Only here"]),
        (parts("related", part("<p>A page", "text/html"), part("x", "image/gif", "Content-ID: <1>\r\n")), ["A page"]),
        (parts("mixed", part(f"{HEAD}\r\nForwarded.", "message/rfc822")), ["Forwarded."]),
        (parts("signed", part("Signed."), part("x", "application/pgp-signature")), ["Signed."]),
        ("Content-Type: multipart/mixed\r\n\r\nWithout a border.", ["Without a border."]),
        ("Content-Type: text/html\r\n\r\n<p>Plain page", ["Plain page"]),
    ],
)
def test_the_body_of_a_mail_is_all_its_text(rest: str, expected: list[str]) -> None:
    result = mail(rest)
    assert all(text in result.text for text in expected)
    assert "body_missing" not in codes(result)


@pytest.mark.parametrize(
    "rest",
    [
        "Content-Type: application/pkcs7-mime; name=smime.p7m\r\n\r\nMIAG",
        parts("mixed", part("x", "text/calendar; method=REQUEST")),
        parts("alternative", part(" "), part("<div></div>", "text/html")),
        "\r\n",
    ],
)
def test_a_mail_without_text_says_so(rest: str) -> None:
    assert "body_missing" in codes(mail(rest))


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("ISO-2022-JP", "荷物は第三埠頭に届きます。"),
        ("iso-2022-kr", "화물은 부두에 있습니다."),
        ("hz-gb-2312", "货物在三号码头"),
        ("ks_c_5601-1987", "부두"),
        ("windows-874", "ท่าเรือเปิดวันจันทร์"),
        ("x-sjis", "①番の埠頭㈱"),
        ("iso-8859-8-i", "הנמל פתוח"),
        ("koi8-r", "Причал закрыт"),
        ("cp850", "Größe"),
        ("utf-7", "Größe"),
    ],
)
def test_a_mail_in_any_encoding_is_read_as_it_was_written(charset: str, text: str) -> None:
    python = {"iso-8859-8-i": "iso8859-8", "windows-874": "cp874", "x-sjis": "cp932", "hz-gb-2312": "hz"}
    content = text.encode(python.get(charset.lower(), charset))
    assert mail(f"Content-Type: text/plain; charset={charset}\r\n\r\n".encode() + content).text.endswith(text)


def test_japanese_mail_of_windows_has_characters_beyond_the_standard() -> None:
    assert decoded(b"\x1b$B-!-j\x1b(B", "iso-2022-jp").text == "①㈱"


def test_subjects_and_names_of_files_are_decoded() -> None:
    head = HEAD.replace("Harbour", "=?gb2312?B?1uzpRg==?= =?iso-8859-1?Q?f=FCr_=80?=\r\n =?x-unknown?Q?caf=C3=A9?=")
    name = "Content-Disposition: attachment; filename*=windows-1251''%CF%EB%E0%ED.pdf\r\n"
    result = mail(parts("mixed", part("Text."), part("x", "application/pdf", name)), head)
    assert result.title == "朱镕für €café"
    assert result.warnings[0].part == "План.pdf"


# Encodings


@pytest.mark.parametrize(
    ("content", "name", "text"),
    [
        (b"<meta charset=latin1><p>\x80 5 \x96 \x93yes\x94", "a.html", "€ 5 \u2013 “yes”"),
        ('<?xml version="1.0" encoding="gbk"?><note>仓库</note>'.encode("gbk"), "a.xml", "仓库"),
        ("<meta http-equiv=x content='text/html; charset=big5'><p>碼頭".encode("big5"), "a.html", "碼頭"),
        ("<meta charset=utf-16><p>Größe".encode(), "a.html", "Größe"),
        ("Größe".encode("utf-32"), "a.txt", "Größe"),
    ],
)
def test_labels_mean_what_the_web_means_by_them(content: bytes, name: str, text: str) -> None:
    result = read(content, name)
    assert result.text == text and result.warnings == ()


@pytest.mark.parametrize(
    ("content", "label", "code", "text"),
    [
        (b"caf\xe9", "x-nobody", "encoding_guessed", "café"),
        (b"caf\xe9", "base64", "encoding_guessed", "café"),
        (b"caf\xe9", "", "encoding_guessed", "café"),
        ("Größe, Länge, Höhe ".encode() + b"\xff", "", "characters_lost", "Größe, Länge, Höhe \ufffd"),
        ("三号码头三号码头".encode("gbk") + b"\xff!", "gb2312", "characters_lost", "三号码头三号码头\ufffd!"),
    ],
)
def test_what_had_to_be_guessed_is_said(content: bytes, label: str, code: str, text: str) -> None:
    result = read(content, "a.txt", f"text/plain; charset={label}" if label else "")
    assert (result.text, codes(result)) == (text, [code])


def test_an_unknown_label_does_no_harm_to_utf_8() -> None:
    assert read("Größe".encode(), "a.txt", "text/plain; charset=x-nobody").warnings == ()


# Pages


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        (
            "<tr><th>Pier<th>Ship<th>Fee<tr><td rowspan=3>North<td>Anna<td>1<tr><td>Bertha<td>2<tr><td>Cora<td>3",
            ["| North | Anna | 1 |", "| North | Bertha | 2 |", "| North | Cora | 3 |"],
        ),
        (
            "<thead><tr><th rowspan=2>Pier<th colspan=2>Year<tr><th>Q1<th>Q2</thead><tr><td>North<td>5<td>7",
            ["| Pier | Year |  |", "| Pier | Q1 | Q2 |", "| North | 5 | 7 |"],
        ),
        (
            "<tbody><tr><td rowspan=0>North<td>a<tr><td>b</tbody><tbody><tr><td>South<td>c</tbody>",
            ["| North | a |", "| North | b |", "| South | c |"],
        ),
        (
            "<tr><td rowspan=2 colspan=2>Both<td>1<tr><td>2<tr><td>x<td>y<td>3",
            ["| Both |  | 1 |", "| Both |  | 2 |", "| x | y | 3 |"],
        ),
        ("<tr><td colspan=9999>wide<td>x<tr><td>1<td>2", ["| 1 | 2 |"]),
    ],
)
def test_no_cell_changes_its_column(table: str, rows: list[str]) -> None:
    text = page(f"<table>{table}</table>")
    assert all(any(line.startswith(row) for line in text.splitlines()) for row in rows), text


def test_a_title_that_spans_a_table_stands_above_its_header() -> None:
    text = page("<table><tr><th colspan=2>Fees of March<tr><th>Ship<th>Fee<tr><td>Anna<td>1</table>")
    assert text == "Fees of March\n\n| Ship | Fee |\n| --- | --- |\n| Anna | 1 |"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("2<sup>10</sup> bytes", "2^10 bytes"),
        ("10<sup>\u221212</sup> m<sup>2</sup>", "10^\u221212 m²"),
        ("H<sub>2</sub>SO<sub>4</sub>", "H₂SO₄"),
        ("x<sub>i+1</sub>", "x_(i+1)"),
        ("the 21<sup>st</sup> ship<sup>4</sup>", "the 21st ship^4"),
        ("<ruby>港<rp>(</rp><rt>みなと</rt><rp>)</rp></ruby>へ", "港へ"),
        ("<ruby><rb>埠</rb><rb>頭</rb><rtc><rt>ふとう</rt></rtc></ruby>", "埠頭"),
        ("a <math><mfrac><mn>1</mn><mrow><mi>n</mi><mo>+</mo><mn>1</mn></mrow></mfrac></math> b", "a 1/(n + 1) b"),
        (
            "<math><msqrt><mi>x</mi></msqrt><mo>&le;</mo><msubsup><mi>y</mi><mi>i</mi><mn>2</mn></msubsup></math>",
            "√(x) ≤ y_i^2",
        ),
        ("<math><semantics><mi>π</mi><annotation>\\pi</annotation></semantics></math>", "π"),
    ],
)
def test_powers_readings_and_formulas_stay_apart_from_words(markup: str, text: str) -> None:
    assert page(f"<p>{markup}</p>") == text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<ol start=7><li>a<li>b</ol>", "7. a\n8. b"),
        ("<ol type=A><li>a<ol type=i><li>x<li>y</ol><li value=26>z</ol>", "A. a\n  i. x\n  ii. y\nZ. z"),
        ("<ol reversed><li>a<li>b<li>c</ol>", "3. a\n2. b\n1. c"),
        ("<ol start=x><li>a<ul><li>b</ul></ol>", "1. a\n  - b"),
    ],
)
def test_lists_keep_their_numbers(markup: str, text: str) -> None:
    assert page(markup) == text


# Books and XHTML


@pytest.mark.parametrize(
    "body",
    [
        "<p>Bolts & nuts &mdash; R&D<p>Last<br>line",
        "<title/><p>Bolts & nuts R&D</p><p>Last line</p>",
        "<p>Bolts & nuts R&D <i>Last</b> line",
    ],
)
def test_what_is_not_well_formed_loses_nothing(body: str) -> None:
    chapter = f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>{body}</body></html>'
    book = files.parts_of(files.epub())
    book["OEBPS/one.xhtml"] = chapter.encode()
    for result in (read(files.archive(book), "a.epub"), read(chapter.encode(), "a.xhtml")):
        assert all(word in result.text for word in ("Bolts & nuts", "R&D", "Last", "line"))


def test_a_missing_chapter_is_a_warning_and_the_others_are_read() -> None:
    book = files.parts_of(files.epub())
    del book["OEBPS/one.xhtml"]
    result = read(files.archive(book), "a.epub")
    assert files.FEES in result.text and [(each.code, each.part) for each in result.warnings] == [
        ("part_missing", "OEBPS/one.xhtml")
    ]


# Data and markup


def test_numbers_of_json_keep_their_digits() -> None:
    text = read(b'{"a": 19.90, "b": 0.00005, "c": 12345678901234567890.10, "d": 1e3, "e": [1.0, 2]}', "a.json").text
    assert text == "a: 19.90\nb: 0.00005\nc: 12345678901234567890.10\nd: 1e3\ne: 1.0, 2"
    table = read(b'[{"price": 5.10, "n": 1}, {"price": 5.00, "n": 2}]', "a.json").text
    assert "| 5.10 | 1 |" in table and "| 5.00 | 2 |" in table


def test_lines_of_json_end_at_line_feeds_alone() -> None:
    rows = [{"id": 1, "note": "a\u2028b"}, {"id": 2, "note": "c\x85d"}, {"id": 3, "note": "e\u2029f\x0cg"}]
    content = "\r\n".join(json.dumps(row, ensure_ascii=False).replace("\\f", "\\u000c") for row in rows)
    result = read(content.encode(), "a.jsonl")
    assert result.mime_type == "application/json" and "| 3 | e f g |" in result.text
    cut = read("\n".join([*(json.dumps({"id": n, "v": "x"}) for n in range(20)), '{"id": 20, "v']).encode(), "a.jsonl")
    assert codes(cut) == ["not_well_formed"] and "[19].id: 19" in cut.text and '[20]: {"id": 20, "v' in cut.text


@pytest.mark.parametrize(
    ("content", "name", "text"),
    [
        ("<table><tr><td>Ship<td>Fee<tr><td>Anna<td>1</table>", "report.xls", "| Anna | 1 |"),
        ("<div><p>Piers</p><p>Docks</p></div>", "page", "Piers\n\nDocks"),
        ("\ufeff<!-- x -->\n<h2>Piers</h2><p>Docks</p>", "page.txt", "## Piers\n\nDocks"),
        (
            '<svg xmlns="http://www.w3.org/2000/svg"><style>a{}</style><text>Pier <tspan>7</tspan></text></svg>',
            "a.svg",
            "Pier 7",
        ),
        (
            "<rss><item><description>&lt;p&gt;Low &lt;b&gt;tide&lt;/b&gt;&lt;/p&gt;</description></item></rss>",
            "feed",
            "Low tide",
        ),
        (
            "<?xml version='1.0'?><book><para>A <em>long</em> pier</para><para>B</para></book>",
            "b.txt",
            "A long pier\n\nB",
        ),
        ("Ship\tFee\nAnna\t1", "export.xls", "Ship\tFee\nAnna\t1"),
    ],
)
def test_markup_is_never_the_text(content: str, name: str, text: str) -> None:
    result = read(content.encode(), name)
    assert text in result.text and "<" not in result.text


def test_a_notebook_is_its_cells() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Tides\n", "Measured daily."]},
        {"cell_type": "code", "source": "print(1.50)", "outputs": [{"text": ["1.50\n"]}, {"data": {"image/png": "A"}}]},
    ]
    notebook = {"cells": cells, "nbformat": 4, "metadata": {"kernelspec": {"language": "python"}}}
    for name in ("tides.ipynb", "tides.json"):
        result = read(json.dumps(notebook).encode(), name)
        assert result.text == "# Tides\nMeasured daily.\n\n```python\nprint(1.50)\n```\n\n```\n1.50\n```"
        assert codes(result) == ["pictures_left_out"]


@pytest.mark.parametrize("name", ["letter.rtf", "letter.txt", "letter.doc", "letter"])
def test_rtf_is_refused_by_name_with_the_way_out(name: str) -> None:
    with pytest.raises(Unreadable, match=r"It is RTF \(.rtf\), which is read where pandoc is installed"):
        read(rb"{\rtf1\ansi The \b pier\b0 is closed.\par}", name)


def test_a_markdown_file_that_begins_with_html_stays_markdown() -> None:
    text = '<p align="center"><img src="a.png"></p>\n\n# Piers\n'
    assert read(text.encode(), "README.md").text == text


def test_a_default_of_a_program_is_no_title() -> None:
    assert read(b"<title>Untitled Document</title><p>Text", "a.html").title is None
    assert read(b"<title> Microsoft Word - Fees.doc </title><p>Text", "a.html").title == "Fees.doc"
    message = EmailMessage()
    message["Subject"] = "Untitled"
    message.set_content("Text.")
    assert read(message.as_bytes(), "a.eml").title is None
