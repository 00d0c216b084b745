# ruff: noqa: RUF001
"""A formula of Word or of a page becomes one line that people would type, and powers stay apart from their base."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from text.extract.formulas import linear, lowered, raised

OMML = "http://schemas.openxmlformats.org/officeDocument/2006/math"
MATHML = "http://www.w3.org/1998/Math/MathML"
I_IS_1 = "<mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow>"


def of_word(content: str) -> str:
    return linear(etree.fromstring(f'<m:oMath xmlns:m="{OMML}">{content}</m:oMath>'))


def of_page(content: str) -> str:
    return linear(etree.fromstring(f'<math xmlns="{MATHML}">{content}</math>'))


def r(text: str) -> str:
    return f"<m:r><m:t>{text}</m:t></m:r>"


def m(name: str, properties: str = "", **arguments: str) -> str:
    """Writes an element of OMML with *arguments*, each of one run, or of markup."""
    inner = "".join(
        f"<m:{key}>{value if value.startswith('<') else r(value)}</m:{key}>" for key, value in arguments.items()
    )
    return f"<m:{name}><m:{name}Pr>{properties}</m:{name}Pr>{inner}</m:{name}>"


def sign(**signs: str) -> str:
    return "".join(f'<m:{name} m:val="{value}"/>' for name, value in signs.items())


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (m("nary", sub="0", sup="1", e="f"), "∫_0^1 f"),
        (m("nary", sign(chr="∑"), sub="i=1", sup="n", e=m("sSup", e="i", sup="2")), "∑_(i=1)^n i^2"),
        (m("sSubSup", e="x", sub="i", sup="n+1"), "x_i^(n+1)"),
        (m("sPre", sub="6", sup="14", e="C"), "C_6^14"),
        (m("sSup", e="x", sup=m("f", num="1", den="2")), "x^(1/2)"),
        (m("f", num=m("f", num="a", den="b"), den="c"), "(a/b)/c"),
        (m("f", num="(a+b)", den="−2.5"), "(a+b)/−2.5"),
        (m("rad", '<m:degHide m:val="1"/>', deg="", e="a+b"), "√(a+b)"),
        (m("func", fName="sin", e="x"), "sin x"),
        (m("func", fName="sin", e=m("d", e="x")), "sin(x)"),
        (m("func", fName=m("limLow", e="lim", lim="x→0"), e="f"), "lim_(x→0) f"),
        (m("acc", e="x"), "x\u0302"),
        (m("acc", sign(chr="\u20d7"), e="v"), "v\u20d7"),
        (m("d", sign(begChr="|", endChr="|"), e="x"), "|x|"),
        (m("d", sign(begChr="{", endChr=""), e=m("eqArr", e="x=1")), "{x=1"),
        (m("d", sign(begChr="⟨", sepChr=",", endChr="⟩"), e="a").replace("</m:d>", "<m:e><m:r/></m:e></m:d>"), "⟨a,⟩"),
        (f"<m:eqArr><m:e>{r('x=1')}</m:e><m:e>{r('y=2')}</m:e></m:eqArr>", "x=1; y=2"),
        ("<m:r><m:rPr><m:t>no</m:t></m:rPr><m:t>y</m:t></m:r>", "y"),
    ],
)
def test_an_equation_of_word_is_one_line(content: str, line: str) -> None:
    assert of_word(content) == line


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (f"<munderover><mo>∑</mo>{I_IS_1}<mi>n</mi></munderover><mo>(</mo><mi>i</mi><mo>)</mo>", "∑_(i = 1)^n(i)"),
        ("<munder><mo>lim</mo><mi>n</mi></munder><msub><mi>a</mi><mi>n</mi></msub>", "lim_n a_n"),
        ("<mfrac><mrow><mo>−</mo><mn>1</mn></mrow><mn>2</mn></mfrac>", "−1/2"),
        ("<mover><mi>x</mi><mo>¯</mo></mover>", "x¯"),
        ('<mfenced open="[" close=")"><mn>0</mn><mn>1</mn></mfenced>', "[0, 1)"),
        (
            "<mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>0</mn></mtd></mtr>"
            "<mtr><mtd><mn>0</mn></mtd><mtd><mn>1</mn></mtd></mtr></mtable>",
            "[1, 0; 0, 1]",
        ),
        ("<mi>f</mi><mo>\u2061</mo><mo>(</mo><mi>x</mi><mo>,</mo><mi>y</mi><mo>)</mo>", "f(x, y)"),
        ("<mi>log</mi><mi>x</mi>", "log x"),
        ("<mi>x</mi><mtext> if </mtext><mi>y</mi>", "x if y"),
        ("<msup><!-- base --><mi>x</mi><!-- power --><mn>2</mn></msup>", "x^2"),
        ("<mi>x</mi><mphantom><mi>y</mi></mphantom><annotation>z</annotation>", "x"),
    ],
)
def test_a_formula_of_a_page_is_one_line(content: str, line: str) -> None:
    assert of_page(content) == line


def test_a_formula_nested_without_end_keeps_its_letters() -> None:
    root = node = etree.Element("math")
    for _ in range(2000):
        node = etree.SubElement(node, "msqrt")
    etree.SubElement(node, "mi").text = "x"
    assert linear(root).strip("√()") == "x"


@pytest.mark.parametrize(
    ("text", "before", "expected"),
    [
        ("n", "2", "^n"),
        ("a+b", "2", "^(a+b)"),
        ("2", "km", "²"),
        ("-1", "5 s", "⁻¹"),
        ("-1.5", "s", "^-1.5"),
        ("3", "ships", "^3"),
        ("1, 2", "ships", "^(1, 2)"),
        ("3", " ", "3"),
        ("th", "4", "th"),
        ("™", "Windows", "™"),
        (" ", "x", " "),
    ],
)
def test_what_is_raised_never_runs_into_a_number_or_a_word(text: str, before: str, expected: str) -> None:
    assert raised(text, before) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2", "₂"),
        ("10", "₁₀"),
        ("n", "_n"),
        ("max", "_max"),
        ("i+1", "_(i+1)"),
        ("(1)", "₍₁₎"),
        (" 2 ", "₂"),
        (" ", ""),
    ],
)
def test_what_is_lowered_stays_with_its_word(text: str, expected: str) -> None:
    assert lowered(text) == expected


@given(st.integers(-(10**9), 10**9))
def test_small_digits_are_compatible_with_the_digits_they_stand_for(number: int) -> None:
    for small in (lowered(str(number)), raised(str(number), "m")):
        assert not small.isascii()
        assert int(unicodedata.normalize("NFKC", small).replace("\u2212", "-")) == number
