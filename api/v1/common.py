"""Models that several resources share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Generic, Self, TypeVar

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from api.fields import RequestBody, TenantInBody
from api.strings import Line, Name, Word
from domain import JobStatus, Principal
from services.erasure.requests import LONGEST_REASON, AcceptedErasure
from services.ingest.drafts import AUTO, NewDoc, UpsertResult


class Out(BaseModel):
    """An answer, read from the attributes of a service's value."""

    model_config = ConfigDict(from_attributes=True)


Row = TypeVar("Row", bound=Out)


class Page(Out, Generic[Row]):
    data: list[Row]
    has_more: bool
    next_cursor: str | None

    @classmethod
    def of(cls, values: Sequence[object], *, limit: int, cursor: str) -> Self:
        """The first *limit* of *values*; one more means that there are others. *cursor* is the field they go by."""
        data, has_more = values[:limit], len(values) > limit
        next_cursor = str(getattr(data[-1], cursor)) if has_more else None
        return cls.model_validate({"data": data, "has_more": has_more, "next_cursor": next_cursor})


class PlaceIn(RequestBody):
    tenant_id: TenantInBody
    namespace: Name


class ChunkingIn(RequestBody):
    """How a document is cut into chunks, and what of each is embedded."""

    chunk_strategy: Word = Field(AUTO, description="auto: the strategy that fits the file")
    chunk_overlap: int = Field(0, ge=0, le=10_000, description="Characters that a chunk repeats of the previous one")
    enrich_context: bool = Field(False, description="Embed each chunk with its title and headings before it")


class UpsertOut(Out):
    """chunks_reused already had a vector, from an earlier revision or another document, or were sent with one."""

    accepted: int
    upserted_docs: int
    skipped_docs: int
    chunks_created: int
    job_id: str | None
    chunks_embedded: int
    chunks_reused: int


class JobStartedOut(Out):
    """The job that does what was asked for."""

    job_id: str
    status: str


class WaitingOut(Out):
    """job_outcome is there only with wait=true: how the job has ended; null if it has not in that time."""

    job_outcome: str | None = None


class BatchOut(UpsertOut, WaitingOut):
    pass


class FileOut(Out):
    doc_id: str
    filename: str
    mime_type: str
    bytes: int
    sha256: str


class UploadOut(UpsertOut, WaitingOut):
    """A worker extracts and publishes *docs* under *job_id*; skipped ones are stored already."""

    docs: list[FileOut]


class SearchedIndexOut(Out):
    """What was searched: everything published up to seq. exact: every vector was compared."""

    seq: int
    embedding_version: str
    exact: bool = Field(validation_alias="is_exact")


def uploaded(outcome: UpsertResult, docs: Sequence[NewDoc]) -> UploadOut:
    files = [(doc.doc_id, doc.file) for doc in docs if doc.file is not None]
    stored = [
        FileOut(
            doc_id=doc_id,
            filename=file.filename,
            mime_type=file.mime_type,
            bytes=file.byte_count,
            sha256=file.sha256,
        )
        for doc_id, file in files
    ]
    return UploadOut(**asdict(outcome), docs=stored)


class WarningOut(Out):
    """*part* names a sheet, a chapter, an attachment or another part of the file."""

    code: str
    message: str
    page: int | None = None
    part: str | None = None


Reason = Annotated[
    Line | None, Field(max_length=LONGEST_REASON, description="Stays in the receipt: put no personal data into it")
]


class ErasureStartedOut(Out):
    """The job that erases. What it is to erase is found no more, at once or as the job reaches it."""

    erasure_id: str
    job_id: str | None
    status: str


def actor(caller: Principal) -> str:
    """Who a receipt says asked for the erasure."""
    return "anybody (AUTH_MODE=open)" if caller.key_id is None else f"API key {caller.key_id}"


def started(accepted: AcceptedErasure, response: Response) -> ErasureStartedOut:
    place = f"/v1/jobs/{accepted.job_id}" if accepted.job_id else f"/v1/erasures/{accepted.erasure_id}"
    response.headers["Location"] = place
    status = JobStatus.PENDING if accepted.job_id else JobStatus.COMPLETED
    return ErasureStartedOut(erasure_id=accepted.erasure_id, job_id=accepted.job_id, status=status)
