"""What sent documents amount to: which are new, which only describe themselves anew, which say nothing new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from errors import PreconditionFailed
from models import Doc, Project, Revision, RevisionStatus
from services.ingest.cutting import recipe_of
from services.ingest.drafts import Draft, NewDoc
from services.ingest.rows import describes_the_same, says_the_same


@dataclass(frozen=True, slots=True)
class Wanted:
    """A document that changes something, and the newest revision of it when that was decided; 0: there was none."""

    doc: NewDoc
    seen_revision: int


@dataclass(frozen=True, slots=True)
class Sorted:
    """The documents of one namespace, sorted by what they ask for. *waiting_job* is at work on some of them."""

    new: list[Wanted]
    redescribed: list[Wanted]
    skipped: int
    waiting_job: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is about to be written to a namespace; *drafts* are those of *sorted.new*, one by one.

    *version* is the project's, unless this is the first that a project takes which was made for another one.
    """

    project: Project
    sorted: Sorted
    drafts: list[Draft]
    version: str

    @property
    def chunk_count(self) -> int:
        return sum(len(each.spans) for each in self.drafts)

    @property
    def texts(self) -> dict[bytes, str]:
        """Everything that has to be embedded, by its key."""
        return {key: text for each in self.drafts for key, text in each.texts.items()}

    @property
    def vectors(self) -> dict[bytes, bytes]:
        """All vectors that came with the documents, by their keys."""
        return {key: vector for each in self.drafts for key, vector in each.vectors.items()}


def sort(
    docs: Sequence[NewDoc],
    there: Mapping[str, tuple[Doc, Revision]],
    *,
    counts_as_there: Sequence[RevisionStatus],
    chunk_tokens: int,
) -> Sorted:
    """Compare each document with the newest revision of it. Raises PreconditionFailed."""
    new: list[Wanted] = []
    redescribed: list[Wanted] = []
    waiting_job = None
    for doc in docs:
        row, revision = there.get(doc.doc_id, (None, None))
        if row is None or row.deleted_at is not None:
            revision = None
        _check_preconditions(doc, revision)
        wanted = Wanted(doc, row.revision if row else 0)
        recipe = recipe_of(doc, chunk_tokens)
        if revision is None or revision.status not in counts_as_there or not says_the_same(revision, doc, recipe):
            new.append(wanted)
            continue
        if revision.status == RevisionStatus.PENDING:
            waiting_job = revision.job_id
        if not describes_the_same(revision, doc):
            redescribed.append(wanted)
    return Sorted(new, redescribed, len(docs) - len(new) - len(redescribed), waiting_job)


def _check_preconditions(doc: NewDoc, revision: Revision | None) -> None:
    if doc.must_be_new and revision is not None:
        raise PreconditionFailed(f"There is a document {doc.doc_id!r} already (If-None-Match: *).", param="doc_id")
    check_hash(doc.doc_id, revision, doc.expected_hash)


def check_hash(doc_id: str, revision: Revision | None, expected: str | None) -> None:
    if expected is not None and (revision is None or expected not in ("*", revision.doc_hash)):
        told = f"has the hash {revision.doc_hash}" if revision else "does not exist"
        raise PreconditionFailed(f"Document {doc_id!r} {told}, not {expected} (If-Match).", param="doc_id")
