"""Packages: the ZIP archives and compound files of Office programs, recognised by their content."""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from lxml import etree

from errors import Unreadable
from text.extract.archives import check_archive
from text.extract.base import Bounds
from text.extract.kinds import DOCX, EPUB, ODS, ODT, PPTX, WAYS_OUT, XLS, XLSB, XLSX, FileKind, supported_kinds

_STRICT = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w+)/")
_TRANSITIONAL = rb"http://schemas.openxmlformats.org/\1/2006/"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
R = f"{{{_RELATIONS}}}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_KIND_OF_ROOT = {"document": DOCX, "presentation": PPTX, "workbook": XLSX}
_USUAL_PARTS = ("word/document.xml", "ppt/presentation.xml", "xl/workbook.xml", "xl/workbook.bin")
_KIND_OF_ODF = {ODT.mime_type: ODT, f"{ODT.mime_type}-template": ODT, ODS.mime_type: ODS}
_DIRECTORY_ENTRY_BYTES = 128


@dataclass(frozen=True, slots=True)
class Relation:
    """*kind* is the last part of the relationship's type; *target* a part's name, "" for one outside."""

    kind: str
    target: str


class Package:
    """An Office Open XML file. Its parts are found by their relationships, whatever their names; the Strict form is
    read as the Transitional one; of alternative contents one is kept.
    """

    def __init__(self, content: bytes) -> None:
        self._zip = zipfile.ZipFile(io.BytesIO(content))
        self._names = {_plain(name): name for name in self._zip.namelist()}
        self._relations: dict[str, dict[str, Relation]] = {}
        main = self.related("", "officeDocument")
        self.main = next((part for part in (*main, *_USUAL_PARTS) if self.has(part)), "")

    def has(self, part: str) -> bool:
        return _plain(part) in self._names

    def read(self, part: str) -> bytes:
        """Returns the content of a part; b"" if it is missing."""
        name = self._names.get(_plain(part))
        return _STRICT.sub(_TRANSITIONAL, self._zip.read(name)) if name is not None else b""

    def xml(self, part: str) -> Any:
        """Returns the part's root element, or None if there is none."""
        content = self.read(part)
        if not content.strip():
            return None
        root = etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True))
        _choose_alternatives(root)
        return root

    def relations(self, part: str) -> dict[str, Relation]:
        if part not in self._relations:
            folder, name = posixpath.split(part)
            root = self.xml(posixpath.join(folder, "_rels", f"{name}.rels"))
            each = root.iter("{*}Relationship") if root is not None else ()
            self._relations[part] = {relation.get("Id", ""): _relation(relation, folder) for relation in each}
        return self._relations[part]

    def related(self, part: str, kind: str) -> list[str]:
        """Returns the names of the parts to which *part* has a relationship of that kind."""
        return [each.target for each in self.relations(part).values() if each.kind == kind and each.target]

    def title(self) -> str | None:
        """Returns the title in the properties of the file, if any."""
        for part in self.related("", "core-properties"):
            root = self.xml(part)
            if root is not None:
                return next((each.text for each in root.iter("{http://purl.org/dc/elements/1.1/}title")), None)
        return None

    def names(self) -> Iterator[str]:
        yield from self._names.values()


def open_package(content: bytes, bounds: Bounds) -> Package:
    """Opens a package. Raises Unreadable for a ZIP bomb."""
    check_archive(content, bounds, may_have_doctype=False)
    return Package(content)


def kind_of_archive(content: bytes) -> FileKind:
    """Determines the kind of a ZIP archive by its parts."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = set(archive.namelist())
        if "mimetype" in names and (kind := _KIND_OF_ODF.get(_start(archive, "mimetype").decode("latin-1").strip())):
            return kind
    if "META-INF/container.xml" in names:
        return EPUB
    package = Package(content)
    if package.main.endswith(".bin"):
        return XLSB
    if package.main and (kind := _KIND_OF_ROOT.get(_root_name(package.read(package.main)))):
        return kind
    if any(name.endswith(".iwa") for name in names) or "Index.zip" in names:
        raise Unreadable(
            "It is a file of Pages, Numbers or Keynote, which is not read. Export it as PDF or for Office."
        )
    raise Unreadable(f"It is a ZIP archive that is none of DOCX, PPTX, XLSX, ODS, ODT and EPUB. {supported_kinds()}")


def kind_of_compound(content: bytes) -> FileKind:
    """Returns XLS. Raises Unreadable, with a remedy, for all other compound files."""
    if _has_entry(content, "EncryptedPackage"):
        raise Unreadable("It is protected by a password: save it without one.")
    for entry, suffix in (
        ("WordDocument", ".doc"),
        ("PowerPoint Document", ".ppt"),
        ("__properties_version1.0", ".msg"),
    ):
        if _has_entry(content, entry):
            raise Unreadable(WAYS_OUT[suffix])
    if _has_entry(content, "Workbook") or _has_entry(content, "Book"):
        return XLS
    raise Unreadable(
        "It is an Office file that is protected by a password, or of the format before 2007: save it as .docx, .xlsx "
        "or .pptx without a password."
    )


def _has_entry(content: bytes, name: str) -> bool:
    """Has the compound file a directory entry of that name?"""
    written = name.encode("utf-16-le") + b"\x00\x00"
    at = content.find(written)
    while at >= 0:
        if at % _DIRECTORY_ENTRY_BYTES == 0:
            return True
        at = content.find(written, at + 1)
    return False


def _start(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as part:
        return part.read(200)


def _root_name(content: bytes) -> str:
    for _, element in etree.iterparse(io.BytesIO(content), events=("start",), resolve_entities=False, no_network=True):
        return str(element.tag).rpartition("}")[2]
    return ""


def _relation(relation: Any, folder: str) -> Relation:
    kind = relation.get("Type", "").rpartition("/")[2]
    if relation.get("TargetMode") == "External":
        return Relation(kind, "")
    target = unquote(relation.get("Target", ""))
    return Relation(kind, posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/"))


def _plain(name: str) -> str:
    """Normalises a part's name: case and the direction of slashes make no difference."""
    return name.replace("\\", "/").lstrip("/").lower()


def _choose_alternatives(root: Any) -> None:
    """Keeps the first choice of alternatives, unless only the fallback has content."""
    for alternatives in list(root.iter(f"{_MC}AlternateContent")):
        branches = [each for each in alternatives if each.tag in (f"{_MC}Choice", f"{_MC}Fallback")]
        chosen = next((each for each in branches if _has_content(each)), branches[0] if branches else None)
        for each in branches:
            if each is not chosen:
                alternatives.remove(each)


def _has_content(branch: Any) -> bool:
    names = ("{*}t", "{*}relIds", "{*}chart", "{*}tbl")
    return next(branch.iter(*names), None) is not None
