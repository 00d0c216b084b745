"""JSON as lines of paths and values, notebooks as their cells, XML as its text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from lxml import etree

from text.extract.base import Bounds, ExtractedText, TextBuilder, one_line
from text.extract.kinds import JSON, NOTEBOOK, TEXT, XML
from text.extract.markup import write_html
from text.extract.plain import Decoded, declared_in_markup, decoded

_MAX_BAD_LINES = 0.1
_TAGS = re.compile(r"</?(?:p|br|div|a|b|i|em|strong|span|ul|ol|li|h[1-6]|img|table)\b[^<>]*>", re.IGNORECASE)
_NOT_TEXT = {"script", "style"}


def read_json(content: bytes, bounds: Bounds, charset: str | None) -> ExtractedText:
    """Reads each value with its path, numbers as they are written; a list of flat objects as a table; invalid JSON as
    plain text.
    """
    source = decoded(content, charset)
    out = _builder_with_caveats(source, bounds)
    try:
        value = _parsed(source.text, out)
        if isinstance(value, dict) and isinstance(value.get("cells"), list) and "nbformat" in value:
            return _notebook(value, out)
        rows = _as_rows(value)
        if rows:
            out.add_table(rows)
        else:
            out.add("\n".join(_lines(value, "")))
    except (ValueError, RecursionError):
        return ExtractedText(source.text, TEXT.mime_type, "default", warnings=source.caveats)
    return out.extracted(JSON.mime_type, "default")


def read_xml(content: bytes, bounds: Bounds, charset: str | None) -> ExtractedText:
    """Reads the text between the tags: an element with text of its own is a paragraph. Escaped HTML, as in feeds, is
    read as HTML.
    """
    source = decoded(content, charset, declared_in_markup(content))
    out = _builder_with_caveats(source, bounds)
    text = re.sub(r"^\s*<\?xml[^>]*>", "", source.text.lstrip("\ufeff"), count=1)
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, huge_tree=True, recover=True, remove_comments=True, remove_pis=True
    )
    root = etree.fromstring(text.encode(), parser)
    if parser.error_log:
        out.warn("not_well_formed", "Its XML is not well-formed: some of it may be missing.")
    for paragraph in _paragraphs(root) if root is not None else ():
        if _TAGS.search(paragraph):
            write_html(paragraph, out)
        else:
            out.add(one_line(paragraph))
    return out.extracted(XML.mime_type, "default")


def _builder_with_caveats(source: Decoded, bounds: Bounds) -> TextBuilder:
    out = TextBuilder(bounds.chars)
    out.add_caveats(source.caveats)
    return out


def _parsed(text: str, out: TextBuilder) -> Any:
    """Parses one value, or JSON lines. Only a line feed ends a line: strings may have other separators."""
    try:
        return _value(text)
    except ValueError:
        lines = [line for line in text.split("\n") if line.strip()]
    values, bad = [], 0
    for line in lines:
        try:
            values.append(_value(line))
        except ValueError:
            values.append(line.strip())
            bad += 1
    if bad > _MAX_BAD_LINES * len(lines):
        raise ValueError("it is no JSON")
    if bad:
        out.warn("not_well_formed", f"{bad} of its {len(lines)} lines are no JSON: they are kept as they stand.")
    return values


def _value(text: str) -> Any:
    """Parses JSON; numbers stay text: 19.90 is not 19.9."""
    return json.loads(text.lstrip("\ufeff"), parse_float=str, parse_int=str, parse_constant=str)


def _notebook(notebook: dict[str, Any], out: TextBuilder) -> ExtractedText:
    """Reads the cells: prose unchanged, code with its output."""
    language = str(_inside(notebook, "metadata", "kernelspec", "language") or "")
    pictures = 0
    for cell in notebook["cells"]:
        source = _joined(_inside(cell, "source"))
        if _inside(cell, "cell_type") != "code":
            out.add(source)
            continue
        out.add(_fenced(source, language))
        for output in _inside(cell, "outputs") or ():
            out.add(_fenced(_printed(output), ""))
            pictures += any(str(name).startswith("image/") for name in _inside(output, "data") or ())
    if pictures:
        out.warn("pictures_left_out", f"{pictures} pictures that its cells drew are not read.")
    return out.extracted(NOTEBOOK.mime_type, "markdown")


def _printed(output: Any) -> str:
    return _joined(_inside(output, "text") or _inside(output, "data", "text/plain") or _inside(output, "evalue"))


def _inside(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _joined(source: Any) -> str:
    return "".join(map(str, source)) if isinstance(source, list) else str(source or "")


def _fenced(code: str, language: str) -> str:
    fence = "````" if "```" in code else "```"
    return f"{fence}{language}\n{code.strip(chr(10))}\n{fence}" if code.strip() else ""


def _paragraphs(root: etree._Element) -> Iterator[str]:
    """Yields paragraphs without recursion: files may be nested to any depth."""
    events = etree.iterwalk(root, events=("start",))
    for _, element in events:
        if etree.QName(element).localname.lower() in _NOT_TEXT:
            events.skip_subtree()
        elif (element.text or "").strip() or any((child.tail or "").strip() for child in element):
            yield "".join(element.itertext())
            events.skip_subtree()


def _as_rows(value: Any) -> list[list[str]] | None:
    """Returns a list of flat objects as rows, under a header of all their names; None for other values."""
    if not isinstance(value, list) or not value or not all(isinstance(record, dict) for record in value):
        return None
    if any(isinstance(cell, dict | list) for record in value for cell in record.values()):
        return None
    names = list(dict.fromkeys(name for record in value for name in record))
    return [names, *([_scalar(record.get(name)) for name in names] for record in value)] if len(names) > 1 else None


def _lines(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _lines(each, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
        for number, each in enumerate(value):
            yield from _lines(each, f"{path}[{number}]")
    else:
        text = ", ".join(map(_scalar, value)) if isinstance(value, list) else _scalar(value)
        yield f"{path}: {text}" if path else text


def _scalar(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
