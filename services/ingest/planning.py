"""Compares documents with stored revisions: which are new, which only change the description, which change nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from domain import Amounts
from errors import PreconditionFailed
from models import Doc, Project, Revision, RevisionStatus
from services.ingest.drafts import Draft, NewDoc, recipe_of
from services.ingest.mirrored import MirroredDocs
from services.ingest.rows import has_same_content, has_same_description, has_same_heading

_UNKNOWN = Amounts(chunks=-(1 << 60), bytes=-(1 << 60))


@dataclass(frozen=True, slots=True)
class Changes:
    """The documents of one namespace by what they change. *waiting_job* already processes some of the skipped ones.

    *growth* is the least by which the new ones let the stored amounts grow, chunks of the service's own not counted.
    """

    new: list[NewDoc]
    redescribed: list[NewDoc]
    skipped: int
    waiting_job: str | None
    growth: Amounts = field(default_factory=Amounts)


@dataclass(frozen=True, slots=True)
class WritePlan:
    """What is about to be written to a namespace; *drafts* are those of *changes.new*, in the same order.

    *version* is the project's, unless these are its first documents and need another one.
    *vectors* are to be stored with the documents; *embedded* of the plan's texts were embedded by the model.
    *other_vectors* are those of the project's other versions, by version, *mirrored* is the same for its mirrors, and
    *computed* counts the vectors of all.
    """

    project: Project
    changes: Changes
    drafts: list[Draft]
    version: str
    vectors: Mapping[bytes, bytes] = field(default_factory=dict)
    embedded: int = 0
    other_vectors: Mapping[str, Mapping[bytes, bytes]] = field(default_factory=dict)
    mirrored: Sequence[MirroredDocs] = ()
    computed: int = 0

    @property
    def chunk_count(self) -> int:
        return sum(len(draft.spans) for draft in self.drafts)

    @property
    def growth(self) -> Amounts:
        return self.changes.growth + Amounts(chunks=self.chunk_count)

    @property
    def texts(self) -> dict[bytes, str]:
        """All texts to embed, by their keys."""
        return {key: text for draft in self.drafts for key, text in draft.texts.items()}


def compare(
    docs: Sequence[NewDoc],
    existing: Mapping[str, tuple[Doc, Revision]],
    *,
    present_statuses: Sequence[RevisionStatus],
    chunk_tokens: int,
    is_headed: bool = False,
) -> Changes:
    """Compares each document with its newest revision. Raises PreconditionFailed.

    *is_headed*: a mirror heads its chunks with the title, so that another title is another content.
    """
    new: list[NewDoc] = []
    redescribed: list[NewDoc] = []
    waiting_job, growth = None, Amounts()
    for incoming in docs:
        row, revision = existing.get(incoming.doc_id, (None, None))
        if row is None or row.deleted_at is not None:
            revision = None
        _check_preconditions(incoming, revision)
        doc = replace(incoming, base_revision=row.revision if row else 0)
        recipe = recipe_of(doc, chunk_tokens)
        is_present = revision is not None and revision.status in present_statuses
        if (
            revision is None
            or not is_present
            or not has_same_content(revision, doc, recipe)
            or (is_headed and not has_same_heading(revision, doc))
        ):
            new.append(doc)
            growth += _growth(doc, row, revision)
            continue
        if revision.status == RevisionStatus.PENDING:
            waiting_job = revision.job_id
        if not has_same_description(revision, doc):
            redescribed.append(doc)
    return Changes(new, redescribed, len(docs) - len(new) - len(redescribed), waiting_job, growth)


def _growth(doc: NewDoc, row: Doc | None, newest: Revision | None) -> Amounts:
    """Without the document's new chunks. If what is live is not the newest revision, its size is not known here."""
    if row is None or row.live_revision is None:
        return Amounts(documents=1, bytes=doc.byte_count)
    if newest is None or newest.revision != row.live_revision:
        return _UNKNOWN
    return Amounts(chunks=-newest.chunk_count, bytes=doc.byte_count - newest.byte_count)


def _check_preconditions(doc: NewDoc, revision: Revision | None) -> None:
    if doc.must_be_new and revision is not None:
        raise PreconditionFailed(f"There is a document {doc.doc_id!r} already (If-None-Match: *).", param="doc_id")
    check_hash(doc.doc_id, revision, doc.expected_hash)


def check_hash(doc_id: str, revision: Revision | None, expected: str | None) -> None:
    """Checks the precondition If-Match. Raises PreconditionFailed."""
    if expected is not None and (revision is None or expected not in ("*", revision.doc_hash)):
        state = f"has the hash {revision.doc_hash}" if revision else "does not exist"
        raise PreconditionFailed(f"Document {doc_id!r} {state}, not {expected} (If-Match).", param="doc_id")
