"""Sent documents beside what is there: which are new, which only describe themselves anew, which change nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from errors import PreconditionFailed
from models import Doc, Project, Revision, RevisionStatus
from services.ingest.drafts import Draft, NewDoc, recipe_of
from services.ingest.rows import describes_the_same, says_the_same


@dataclass(frozen=True, slots=True)
class Changes:
    """The documents of one namespace by what they change. *waiting_job* is at work on some of them already."""

    new: list[NewDoc]
    redescribed: list[NewDoc]
    skipped: int
    waiting_job: str | None


@dataclass(frozen=True, slots=True)
class WritePlan:
    """What is about to be written to a namespace; *drafts* are those of *changes.new*, one by one.

    *version* is the project's, unless this is the first that a project takes which was made for another one.
    *vectors* are to be stored with the documents; the model made *embedded* for it.
    """

    project: Project
    changes: Changes
    drafts: list[Draft]
    version: str
    vectors: Mapping[bytes, bytes] = field(default_factory=dict)
    embedded: int = 0

    @property
    def chunk_count(self) -> int:
        return sum(len(each.spans) for each in self.drafts)

    @property
    def texts(self) -> dict[bytes, str]:
        """Everything that has to be embedded, by its key."""
        return {key: text for each in self.drafts for key, text in each.texts.items()}


def compare(
    docs: Sequence[NewDoc],
    there: Mapping[str, tuple[Doc, Revision]],
    *,
    counts_as_there: Sequence[RevisionStatus],
    chunk_tokens: int,
) -> Changes:
    """Each document beside the newest revision of it. Raises PreconditionFailed."""
    new: list[NewDoc] = []
    redescribed: list[NewDoc] = []
    waiting_job = None
    for sent in docs:
        row, revision = there.get(sent.doc_id, (None, None))
        if row is None or row.deleted_at is not None:
            revision = None
        _check_preconditions(sent, revision)
        doc = replace(sent, seen_revision=row.revision if row else 0)
        recipe = recipe_of(doc, chunk_tokens)
        if revision is None or revision.status not in counts_as_there or not says_the_same(revision, doc, recipe):
            new.append(doc)
            continue
        if revision.status == RevisionStatus.PENDING:
            waiting_job = revision.job_id
        if not describes_the_same(revision, doc):
            redescribed.append(doc)
    return Changes(new, redescribed, len(docs) - len(new) - len(redescribed), waiting_job)


def _check_preconditions(doc: NewDoc, revision: Revision | None) -> None:
    if doc.must_be_new and revision is not None:
        raise PreconditionFailed(f"There is a document {doc.doc_id!r} already (If-None-Match: *).", param="doc_id")
    check_hash(doc.doc_id, revision, doc.expected_hash)


def check_hash(doc_id: str, revision: Revision | None, expected: str | None) -> None:
    """The precondition If-Match. Raises PreconditionFailed."""
    if expected is not None and (revision is None or expected not in ("*", revision.doc_hash)):
        state = f"has the hash {revision.doc_hash}" if revision else "does not exist"
        raise PreconditionFailed(f"Document {doc_id!r} {state}, not {expected} (If-Match).", param="doc_id")
