"""Stores documents that have nothing to do with each other: in few transactions, and none fails for another's fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from errors import Conflict, EmbeddingRefused, Invalid, NotFound, TooLarge
from services.ingest.drafts import NewDoc, UpsertResult

Store = Callable[[Sequence[NewDoc]], UpsertResult]

OF_ONE_DOCUMENT = (Invalid, TooLarge, NotFound, Conflict, EmbeddingRefused)
"""Others, such as a full disk, are not a document's fault: the halves of a batch would meet them again."""


@dataclass(frozen=True, slots=True)
class DocOutcome:
    """What became of a document: it is stored, by the job *job_id* if there is one, unless there is an *error*."""

    job_id: str | None = None
    error: Exception | None = None


def store_each(store: Store, docs: Sequence[NewDoc]) -> list[DocOutcome]:
    """An outcome per document. A tenant's documents are stored together, in their order."""
    outcomes = [DocOutcome()] * len(docs)
    for tenant in dict.fromkeys(doc.tenant_id for doc in docs):
        positions = [position for position, doc in enumerate(docs) if doc.tenant_id == tenant]
        stored = _store_halving(store, [docs[position] for position in positions])
        for position, outcome in zip(positions, stored, strict=True):
            outcomes[position] = outcome
    return outcomes


def _store_halving(store: Store, docs: Sequence[NewDoc]) -> list[DocOutcome]:
    """One bad document among 256 takes 16 more transactions, most of which write nothing."""
    try:
        return [DocOutcome(job_id=store(docs).job_id)] * len(docs)
    except Exception as error:
        if len(docs) == 1 or not isinstance(error, OF_ONE_DOCUMENT):
            return [DocOutcome(error=error)] * len(docs)
    middle = len(docs) // 2
    return [*_store_halving(store, docs[:middle]), *_store_halving(store, docs[middle:])]
