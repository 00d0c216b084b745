"""The values of form fields and the notes on the pages of a PDF."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import pypdfium2.raw as pdfium_c

from text.extract.base import one_line

_SILENT = {pdfium_c.FPDF_ANNOT_POPUP, pdfium_c.FPDF_ANNOT_LINK, pdfium_c.FPDF_ANNOT_UNKNOWN}
_CHOICES = {pdfium_c.FPDF_FORMFIELD_COMBOBOX, pdfium_c.FPDF_FORMFIELD_LISTBOX}
_CHECKED = {pdfium_c.FPDF_FORMFIELD_CHECKBOX, pdfium_c.FPDF_FORMFIELD_RADIOBUTTON}
_PASSWORD = 1 << 13
_MAX_ANNOTATIONS = 5000
_MAX_OPTIONS = 1000
_YES = {"", "yes", "on", "1", "true", "ja", "oui"}


def has_dynamic_form(pdf: Any) -> bool:
    """Is it a form that only Adobe's programs can render? Its page has no other text than a notice."""
    return bool(pdf.get_formtype() == pdfium_c.FORMTYPE_XFA_FULL)


def annotation_lines(pdf: Any, page: Any) -> list[str]:
    """Returns a line for each filled-in field and each note. The forms of *pdf* must be initialised."""
    lines: dict[str, None] = {}
    for index in range(min(pdfium_c.FPDFPage_GetAnnotCount(page), _MAX_ANNOTATIONS)):
        annotation = pdfium_c.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        try:
            for line in _lines(pdf.formenv, annotation):
                lines[line] = None
        finally:
            pdfium_c.FPDFPage_CloseAnnot(annotation)
    return list(lines)


def _lines(forms: Any, annotation: Any) -> Iterator[str]:
    subtype = pdfium_c.FPDFAnnot_GetSubtype(annotation)
    if subtype in _SILENT or pdfium_c.FPDFAnnot_GetFlags(annotation) & pdfium_c.FPDF_ANNOT_FLAG_HIDDEN:
        return
    if subtype != pdfium_c.FPDF_ANNOT_WIDGET:
        text = one_line(_string(lambda *to: pdfium_c.FPDFAnnot_GetStringValue(annotation, b"Contents", *to)))
        if text:
            yield text if subtype == pdfium_c.FPDF_ANNOT_FREETEXT else f"Note: {text}"
    elif forms is not None and (value := one_line(_value(forms, annotation))):
        label = _of_field(pdfium_c.FPDFAnnot_GetFormFieldAlternateName, forms, annotation)
        label = one_line(label or _of_field(pdfium_c.FPDFAnnot_GetFormFieldName, forms, annotation))
        yield f"{label}: {value}" if label else value


def _value(forms: Any, annotation: Any) -> str:
    kind = pdfium_c.FPDFAnnot_GetFormFieldType(forms, annotation)
    if kind in _CHECKED:
        if not pdfium_c.FPDFAnnot_IsChecked(forms, annotation):
            return ""
        value = _of_field(pdfium_c.FPDFAnnot_GetFormFieldExportValue, forms, annotation)
        return "yes" if value.lower() in _YES else value
    if kind == pdfium_c.FPDF_FORMFIELD_TEXTFIELD and (
        pdfium_c.FPDFAnnot_GetFormFieldFlags(forms, annotation) & _PASSWORD
    ):
        return ""
    if kind in _CHOICES and (chosen := ", ".join(_chosen(forms, annotation))):
        return chosen
    is_button = kind in (pdfium_c.FPDF_FORMFIELD_PUSHBUTTON, pdfium_c.FPDF_FORMFIELD_SIGNATURE)
    return "" if is_button else _of_field(pdfium_c.FPDFAnnot_GetFormFieldValue, forms, annotation)


def _chosen(forms: Any, annotation: Any) -> Iterator[str]:
    for index in range(min(pdfium_c.FPDFAnnot_GetOptionCount(forms, annotation), _MAX_OPTIONS)):
        if pdfium_c.FPDFAnnot_IsOptionSelected(forms, annotation, index):
            yield _string(lambda *to, at=index: pdfium_c.FPDFAnnot_GetOptionLabel(forms, annotation, at, *to))


def _of_field(call: Any, forms: Any, annotation: Any) -> str:
    return _string(lambda *to: call(forms, annotation, *to))


def _string(call: Callable[..., int]) -> str:
    """Reads a string: the first call returns its size in bytes, the second one fills the buffer with UTF-16."""
    size = call(None, 0)
    if size <= 2:
        return ""
    buffer = ctypes.create_string_buffer(size)
    call(ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), size)
    return buffer.raw[: size - 2].decode("utf-16-le", "replace")
