"""multipart/form-data, streamed: files go into the store piece by piece, and none is held in memory whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.problems import errors_in_body
from api.tenants import BodyContext
from domain import RawFile
from errors import Invalid, TooLarge, Unreadable
from services.ingest.uploading import UNNAMED, IncomingFile
from text.extract.headers import extended_filename, header_text
from text.extract.plain import decode

MAX_FIELD_BYTES = 1 << 20
_MAX_HEADER_BYTES = 1 << 14
_SPARE_PARTS = 100
ONE_FILE = {"type": "string", "format": "binary"}
NO_FILE = "The form has no file: send one as curl -F file=@report.pdf does."

Fields = TypeVar("Fields", bound=BaseModel)


@dataclass(slots=True)
class Form:
    """Fields by name, files in order. *blobs* are all that were started, for the cleanup."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    files: list[RawFile] = field(default_factory=list)
    blobs: list[str] = field(default_factory=list)


class Intake(Protocol):
    """Where the files of a form go."""

    def begin(self, filename: str, declared: str = "") -> IncomingFile: ...


async def receive(request: Request, intake: Intake, form: Form, *, most_files: int, too_many: str) -> None:
    """Read the request into *form*. Raises Invalid, TooLarge (with *too_many* files), and the errors of the intake."""
    reader = _Reader(intake, form, most_files, too_many)
    try:
        with _parser(request, most_files) as parser:
            async for piece in request.stream():
                for event in parser.parse(piece) if piece else ():
                    await reader.take(event)
    except MultipartError as error:
        kind = TooLarge if isinstance(error, ParserLimitReached) else Invalid
        raise kind(f"The body is not a valid form with files: {error}.") from error
    except ClientDisconnect as error:
        raise Invalid("The connection broke before the upload was complete.") from error
    finally:
        await reader.close()


def checked(
    model: type[Fields], fields: dict[str, list[str]], context: BodyContext, *, repeated: Sequence[str] = ()
) -> Fields:
    """The fields beside the files. Raises RequestValidationError, and Invalid for a field that is not one of *repeated*
    and occurs twice.
    """
    values_by_name: dict[str, Any] = {}
    for name, values in fields.items():
        if len(values) > 1 and name not in repeated:
            raise Invalid(f"The form has the field {name!r} twice.", param=name)
        values_by_name[name] = values if name in repeated else values[0]
    try:
        return model.model_validate(values_by_name, context=context)
    except ValidationError as error:
        raise RequestValidationError(errors_in_body(error)) from error


def form_schema(model: type[BaseModel], file: dict[str, Any]) -> dict[str, Any]:
    """The requestBody of a route that takes the fields of *model* beside files."""
    schema = model.model_json_schema()
    schema["properties"] = {"file": file, **schema["properties"]}
    schema["required"] = ["file", *schema["required"]]
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


async def drain(request: Request) -> None:
    """Read to the end: a client that is still sending would miss the answer. The body's limit applies."""
    try:
        async for _ in request.stream():
            pass
    except (ClientDisconnect, RuntimeError):
        return


def _parser(request: Request, most_files: int) -> PushMultipartParser:
    """Names pass in any encoding; they are decoded here."""
    return PushMultipartParser(
        _boundary(request),
        max_segment_count=most_files + _SPARE_PARTS,
        max_header_size=_MAX_HEADER_BYTES,
        header_charset="latin-1",
    )


def _decoded(name: str) -> str:
    try:
        return decode(name.encode("latin-1"))
    except Unreadable:
        return ""


def _filename(part: MultipartSegment) -> str | None:
    """The filename, in any of the ways to send one; None for a field that is not a file."""
    try:
        extended = extended_filename(part.header("Content-Disposition", ""))
    except Unreadable:
        extended = None
    if extended is not None or part.filename is None:
        return extended
    return header_text(_decoded(part.filename))


def _boundary(request: Request) -> str:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise Invalid("Send a form with files (multipart/form-data), as curl -F file=@report.pdf does.", param="file")
    return str(options["boundary"])


class _Reader:
    """Handles the parser's events: the head of a part, pieces of its content, its end."""

    def __init__(self, intake: Intake, form: Form, most_files: int, too_many: str) -> None:
        self._intake = intake
        self._form = form
        self._most_files = most_files
        self._too_many = too_many
        self._name = ""
        self._incoming: IncomingFile | None = None
        self._unnamed = 0
        self._value = bytearray()
        self._field_bytes = 0

    async def take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        if isinstance(event, MultipartSegment):
            await self._begin(event)
        elif event is None:
            await self._end()
        elif self._incoming is not None:
            await run_in_threadpool(self._incoming.write, bytes(event))
        else:
            self._add_to_field(event)

    async def close(self) -> None:
        """Discard an incomplete file."""
        if self._incoming is not None:
            await run_in_threadpool(self._incoming.abort)

    async def _begin(self, part: MultipartSegment) -> None:
        self._name, self._value = _decoded(part.name or ""), bytearray()
        filename = _filename(part)
        if filename is None:
            return
        if len(self._form.files) == self._most_files:
            raise TooLarge(self._too_many, param="file")
        declared = part.header("Content-Type", "")
        self._incoming = await run_in_threadpool(self._intake.begin, filename, str(declared))
        self._form.blobs.append(self._incoming.blob)
        if self._incoming.filename == UNNAMED:
            self._unnamed += 1
            self._incoming.filename += f"-{self._unnamed}" if self._unnamed > 1 else ""

    async def _end(self) -> None:
        if self._incoming is not None:
            await self._end_file(self._incoming)
            self._incoming = None
            return
        try:
            value = self._value.decode()
        except UnicodeDecodeError as error:
            raise Invalid(f"The field {self._name!r} is not UTF-8.", param=self._name) from error
        self._form.fields.setdefault(self._name, []).append(value)

    async def _end_file(self, incoming: IncomingFile) -> None:
        """A file without name and content is a form field in which no file was chosen."""
        if incoming.is_empty and incoming.filename.startswith(UNNAMED):
            await run_in_threadpool(incoming.abort)
        else:
            self._form.files.append(await run_in_threadpool(incoming.finish))

    def _add_to_field(self, piece: bytes | bytearray) -> None:
        self._field_bytes += len(piece)
        if self._field_bytes > MAX_FIELD_BYTES:
            raise TooLarge(f"The form's fields have more than {MAX_FIELD_BYTES} bytes in all.", param=self._name)
        self._value += piece
