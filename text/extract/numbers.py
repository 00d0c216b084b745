"""Formats numbers as the cells of a sheet show them, as far as nothing is lost: leading zeros, percent, units.

No digit is rounded away and no thousands separator is added: a number has to match as it is typed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

_BUILT_IN = {2: "0.00", 4: "0.00", 7: "0.00", 8: "0.00", 9: "0%", 10: "0.00%", 39: "0.00", 40: "0.00", 43: "0.00"}
_BUILT_IN[44] = "0.00"
_TOKEN = re.compile(r'"([^"]*)"|\\(.)|\[\$([^\]\-]*)[^\]]*\]|(\[[^\]]*\]|[_*].)|([0#?]+(?:,[0#?]+)*)|(.)', re.DOTALL)
_SECTION = re.compile(r'(?:"[^"]*"|\\.|[^;"\\])*')
_DATE_OR_TEXT = re.compile(r"[dmyhsEeg@]", re.IGNORECASE)
_LARGEST_EXACT = 1 << 53
_LONGEST_PLAIN = 25


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """*groups* are the counts of digits between literal characters, as in a telephone number."""

    prefix: str = ""
    suffix: str = ""
    zeros: int = 1
    decimals: int = 0
    is_percent: bool = False
    groups: tuple[tuple[str, int], ...] = ()

    @property
    def is_plain(self) -> bool:
        return self == NumberFormat(zeros=self.zeros) and self.zeros < 2

    def show(self, value: float) -> str:
        if self.groups:
            return self._grouped(value) or plain(value)
        number = _exact(abs(value))
        if self.is_percent:
            number = number.scaleb(2)
        whole, _, rest = f"{number:f}".partition(".")
        rest = rest.rstrip("0").ljust(self.decimals, "0")
        digits = whole.zfill(self.zeros) + (f".{rest}" if rest else "")
        return f"{'-' if value < 0 else ''}{self.prefix}{digits}{'%' if self.is_percent else ''}{self.suffix}".strip()

    def _grouped(self, value: float) -> str | None:
        if value < 0 or not float(value).is_integer():
            return None
        digits = str(int(value)).zfill(sum(count for _, count in self.groups))
        text, (first, _) = self.suffix, self.groups[0]
        for literal, count in reversed(self.groups[1:]):
            text = f"{literal}{digits[-count:]}{text}"
            digits = digits[:-count]
        return f"{first}{digits}{text}"


def plain(value: float) -> str:
    """Formats a number with all its significant digits, without an exponent."""
    if float(value).is_integer() and abs(value) < _LARGEST_EXACT:
        return str(int(value))
    if "e" not in (short := f"{value:.15g}"):
        return short
    number = Decimal(short)
    text = f"{number:f}" if abs(number.adjusted()) < _LONGEST_PLAIN else short
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def number_format(code: str | None, number: int) -> NumberFormat | None:
    """Parses a format's *code*, or the built-in format *number*; None if numbers are shown unchanged."""
    code = code if code is not None else _BUILT_IN.get(number)
    section = _SECTION.match(code) if code else None
    parsed = _parsed(section.group()) if section is not None else None
    return None if parsed is None or parsed.is_plain else parsed


def _exact(value: float) -> Decimal:
    """Returns a fraction with the fifteen digits that sheets keep, a whole number with all."""
    is_whole = float(value).is_integer() and abs(value) < _LARGEST_EXACT
    return Decimal(int(value)) if is_whole else Decimal(f"{value:.15g}")


def _parsed(code: str) -> NumberFormat | None:
    """Parses a format; None unless it shows plain digits: for dates, texts, fractions and scaled thousands."""
    literals, runs, signs = _tokens(code)
    if not runs or "?" in "".join(runs) or "," in signs or any(map(_DATE_OR_TEXT.match, signs)):
        return None
    if any("/" in literal for literal in literals[1:-1]):
        return None
    if len(runs) > 1 and "." not in signs:
        groups = tuple((literal, len(run)) for literal, run in zip(literals, runs, strict=False))
        return None if "%" in signs or "#" in "".join(runs) else NumberFormat(suffix=literals[-1], groups=groups)
    if len(runs) > 2 or (len(runs) == 2 and literals[1]):
        return None
    decimals = runs[1].count("0") if len(runs) == 2 else 0
    return NumberFormat(literals[0], literals[-1], max(runs[0].count("0"), 1), decimals, "%" in signs)


def _tokens(code: str) -> tuple[list[str], list[str], str]:
    """Returns the literals around the runs of digits, these runs, and the other significant signs."""
    literals, runs, signs = [""], [], ""
    for quoted, escaped, currency, ignored, digits, other in _TOKEN.findall(code):
        if digits:
            runs.append(digits.replace(",", ""))
            literals.append("")
        elif other in (".", "%", ",") or _DATE_OR_TEXT.match(other):
            signs += other
        elif not ignored:
            literals[-1] += quoted or escaped or currency or other
    return literals, runs, signs
