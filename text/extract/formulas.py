"""Formulas (MathML, OMML) on one line, as people type them; superscripts and subscripts of other text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

_MAX_DEPTH = 60
_ATOM = re.compile(r"[-+\u2212]?[\w.,\u2032\u221e*]+|\([^()]*\)")
_POWERS = str.maketrans("0123456789+-\u2212=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿⁱ")
_INDICES = str.maketrans("0123456789+-\u2212=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")
_SIGNED_NUMBER = re.compile(r"[-+\u2212]?\d+(?:[.,]\d+)?")
_LONGEST_UNIT = 3
_INVISIBLE = re.compile("[\u2061-\u2064\u200b]")
_OPERATORS = frozenset(
    "=<>+\u2212-\u2260\u2264\u2265\u2248\u2261\u221d\u00b1\u00d7\u00b7\u2192\u2208\u2282\u2227\u2228"
)
_HIDDEN = {"annotation", "annotation-xml", "mphantom", "rPr", "ctrlPr"}
_DEFAULT_SIGN = {"nary": "\u222b", "acc": "\u0302", "groupChr": ""}


def raised(text: str, before: str) -> str:
    """Formats superscript *text* after *before*. A search would read 10⁶ as 106 and ships³ as ships3, so a number is
    marked by ^ after a digit or a word; after a unit it has Unicode's superscript characters.
    """
    power = text.strip()
    if not power or (not any(map(str.isdigit, power)) and not before[-1:].isdigit()):
        return text  # 1st, Mlle, a trademark
    if power.isalpha():
        return text if len(power) > 1 else f"^{power}"
    word = re.search(r"[^\W\d_]*\Z", before)
    is_unit = word is not None and 0 < len(word.group()) <= _LONGEST_UNIT
    if is_unit and _SIGNED_NUMBER.fullmatch(power) and power.isascii() and power.lstrip("-+").isdigit():
        return power.translate(_POWERS)
    return f"^{_grouped(power)}" if before.strip() else power


def lowered(text: str) -> str:
    """Formats subscript *text*: H₂O stays one word."""
    index = text.strip()
    small = index.translate(_INDICES)
    if index and not small.isascii() and not any(each.isascii() for each in small):
        return small
    return f"_{_grouped(index)}" if index else ""


def linear(formula: Any) -> str:
    """Returns a formula, an element of MathML or OMML, on one line."""
    return re.sub(r"\s+", " ", _INVISIBLE.sub("", _linear_node(formula, 0))).strip()


def _linear_node(node: Any, depth: int) -> str:
    name = _name(node)
    if name in _HIDDEN or name.endswith("Pr"):
        return ""
    if depth > _MAX_DEPTH:
        return " ".join(node.itertext())
    writer = _WRITERS.get(name)
    if writer is not None:
        return writer(node, depth + 1)
    return (node.text or "").strip() if name.startswith("m") and len(node) == 0 else _row(node, depth + 1)


def _row(node: Any, depth: int) -> str:
    """Returns the children in a row; a word is separated from an adjacent name by a space."""
    line = ""
    for child in node:
        part = _linear_node(child, depth)
        is_letters = line[-1:].isalpha() and part[:1].isalpha()
        line += f" {part}" if is_letters and (_ends_in_word(line) or len(part.split(" ")[0]) > 1) else part
    return line


def _ends_in_word(line: str) -> bool:
    return len(line) > 1 and line[-2].isalpha()


def _operator(node: Any, _depth: int) -> str:
    sign = "".join(node.itertext()).strip()
    before = node.getprevious()
    return f" {sign} " if sign in _OPERATORS and before is not None else f"{sign} " if sign in (",", ";") else sign


def _text(node: Any, _depth: int) -> str:
    return "".join(node.itertext())


def _run(node: Any, _depth: int) -> str:
    return "".join(each.text or "" for each in node if _name(each) == "t")


def _parts(node: Any, depth: int, *names: str) -> list[str]:
    """Returns the arguments: by name in OMML, where one may be missing, by position in MathML."""
    if any(_name(child) in names for child in node):
        by_name = {_name(child): _row(child, depth) for child in node if _name(child) in names}
        return [by_name.get(name, "").strip() for name in names]
    arguments = [_linear_node(child, depth).strip() for child in node if isinstance(child.tag, str)]
    return [*arguments, *[""] * len(names)][: len(names)]


def _scripts(base: str, below: str, above: str) -> str:
    return base + (f"_{_grouped(below)}" if below else "") + (f"^{_grouped(above)}" if above else "")


def _sup(node: Any, depth: int) -> str:
    base, above = _parts(node, depth, "e", "sup")
    return _scripts(base, "", above)


def _sub(node: Any, depth: int) -> str:
    base, below = _parts(node, depth, "e", "sub")
    return _scripts(base, below, "")


def _sub_sup(node: Any, depth: int) -> str:
    return _scripts(*_parts(node, depth, "e", "sub", "sup"))


def _over(node: Any, depth: int) -> str:
    base, above = _parts(node, depth, "e", "lim")
    return f"{base}{above}" if len(above) == 1 and not above.isalnum() else _scripts(base, "", above)


def _under(node: Any, depth: int) -> str:
    base, below = _parts(node, depth, "e", "lim")
    return f"{_scripts(base, below, '')} "


def _fraction(node: Any, depth: int) -> str:
    above, below = _parts(node, depth, "num", "den")
    return f"{_grouped(above)}/{_grouped(below)}"


def _root(node: Any, depth: int) -> str:
    if _name(node) == "msqrt":
        return f"\u221a({_row(node, depth)})"
    base, degree = _parts(node, depth, "e", "deg")
    return f"\u221a[{degree}]({base})" if degree else f"\u221a({base})"


def _nary(node: Any, depth: int) -> str:
    below, above, base = _parts(node, depth, "sub", "sup", "e")
    return f"{_scripts(_property(node, 'chr', _DEFAULT_SIGN['nary']), below, above)} {base}"


def _delimited(node: Any, depth: int) -> str:
    inner = [_row(child, depth) for child in node if _name(child) == "e"]
    begin, end, part = (
        _property(node, name, usual) for name, usual in (("begChr", "("), ("endChr", ")"), ("sepChr", "|"))
    )
    return f"{begin}{part.join(inner)}{end}"


def _fenced(node: Any, depth: int) -> str:
    inner = ", ".join(_linear_node(child, depth) for child in node)
    return f"{node.get('open', '(')}{inner}{node.get('close', ')')}"


def _function(node: Any, depth: int) -> str:
    name, argument = _parts(node, depth, "fName", "e")
    return f"{name}{argument}" if argument.startswith("(") else f"{name} {argument}"


def _accent(node: Any, depth: int) -> str:
    [base] = _parts(node, depth, "e")
    return f"{base}{_property(node, 'chr', _DEFAULT_SIGN['acc'])}"


def _matrix(node: Any, depth: int) -> str:
    rows = [child for child in node if _name(child) in ("mr", "mtr", "mlabeledtr", "e")]
    lines = [", ".join(_linear_node(cell, depth).strip() for cell in _cells(row)) for row in rows]
    return f"[{'; '.join(lines)}]" if _name(node) != "eqArr" else "; ".join(lines)


def _cells(row: Any) -> Iterator[Any]:
    yield from ([row] if _name(row) == "e" else row)


def _property(node: Any, name: str, usual: str) -> str:
    for properties in node:
        if _name(properties).endswith("Pr"):
            for each in properties:
                if _name(each) == name:
                    return next((value for key, value in each.items() if key.endswith("val")), "")
    return usual


def _grouped(part: str) -> str:
    part = part.strip()
    return part if _ATOM.fullmatch(part) else f"({part})"


def _name(node: Any) -> str:
    return node.tag.rpartition("}")[2] if isinstance(node.tag, str) else "annotation"


_WRITERS: dict[str, Callable[[Any, int], str]] = {
    "mo": _operator,
    "mtext": _text,
    "ms": _text,
    "r": _run,
    "msup": _sup,
    "sSup": _sup,
    "msub": _sub,
    "sSub": _sub,
    "msubsup": _sub_sup,
    "munderover": _sub_sup,
    "sSubSup": _sub_sup,
    "sPre": _sub_sup,
    "mover": _over,
    "limUpp": _over,
    "munder": _under,
    "limLow": _under,
    "mfrac": _fraction,
    "f": _fraction,
    "msqrt": _root,
    "mroot": _root,
    "rad": _root,
    "nary": _nary,
    "d": _delimited,
    "mfenced": _fenced,
    "func": _function,
    "acc": _accent,
    "mtable": _matrix,
    "m": _matrix,
    "eqArr": _matrix,
}
