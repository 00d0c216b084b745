"""What is planned before anything is written: which documents change, which texts are embedded, and at what time."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import RawFile, Span
from durable import sync_folder
from errors import PreconditionFailed
from models import Doc, Project, Revision, RevisionStatus
from services.ingest.drafts import Draft, NewDoc, OwnChunk, UpsertResult, recipe_of
from services.ingest.planning import Changes, WritePlan, compare
from text.chunkers.base import CHUNKING
from times import EARLIEST, LATEST, in_utc, shifted

CHUNK_TOKENS = 100
LIVE, PENDING = RevisionStatus.LIVE, RevisionStatus.PENDING
CATS = NewDoc("tenant", "namespace", "cats", "Cats sleep.", {"n": 1, "m": [1]}, title="Cats")
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def stored(doc: NewDoc, status: RevisionStatus = LIVE, *, is_deleted: bool = False) -> dict[str, tuple[Doc, Revision]]:
    """The rows of a document whose newest revision is number 3, or whose deletion is number 4."""
    row = Doc(doc_id=doc.doc_id, revision=4 if is_deleted else 3, deleted_at=NOON if is_deleted else None)
    revision = Revision(
        doc_id=doc.doc_id,
        revision=3,
        status=status,
        job_id="job-7",
        doc_hash=doc.content_hash,
        recipe=recipe_of(doc, CHUNK_TOKENS),
        title=doc.title,
        source_type=doc.source_type,
        mime_type=doc.mime_type,
        doc_metadata=doc.metadata,
    )
    return {doc.doc_id: (row, revision)}


def changes(
    docs: list[NewDoc],
    existing: dict[str, tuple[Doc, Revision]],
    *statuses: RevisionStatus,
    chunk_tokens: int = CHUNK_TOKENS,
) -> Changes:
    return compare(docs, existing, present_statuses=statuses or [LIVE], chunk_tokens=chunk_tokens)


# Comparing


@pytest.mark.parametrize(
    ("changed", "new", "redescribed"),
    [
        ({}, 0, 0),
        ({"text": "Cats sleep. \r\n"}, 0, 0),
        ({"metadata": {"m": [1], "n": 1}}, 0, 0),
        ({"text": "Cats wake."}, 1, 0),
        ({"chunk_strategy": "markdown"}, 1, 0),
        ({"chunk_overlap": 5}, 1, 0),
        ({"enrich_context": True}, 1, 0),
        ({"chunks": (OwnChunk("Cats sleep."),)}, 1, 0),
        ({"text": "Cats wake.", "title": "Awake"}, 1, 0),
        ({"title": None}, 0, 1),
        ({"metadata": {"n": True, "m": [1]}}, 0, 1),
        ({"metadata": {"n": 1.0, "m": [1]}}, 0, 1),
        ({"metadata": {"n": 1}}, 0, 1),
        ({"source_type": "crawler"}, 0, 1),
        ({"mime_type": "text/markdown"}, 0, 1),
    ],
)
def test_content_makes_a_new_revision_and_a_description_only_changes(
    changed: dict[str, Any], new: int, redescribed: int
) -> None:
    planned = changes([replace(CATS, **changed)], stored(CATS))
    assert (len(planned.new), len(planned.redescribed), planned.skipped) == (new, redescribed, 1 - new - redescribed)


def test_a_title_that_is_embedded_with_the_chunks_is_content() -> None:
    enriched = replace(CATS, enrich_context=True)
    renamed = replace(enriched, title="Dogs")
    assert [doc.title for doc in changes([renamed], stored(enriched)).new] == ["Dogs"]
    assert len(changes([CATS], stored(CATS), chunk_tokens=CHUNK_TOKENS + 1).new) == 1


def test_a_text_and_a_file_are_cut_again_after_the_chunker_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Own chunks are not cut, so they stay as they are."""
    file = replace(CATS, file=RawFile("blob", "cats.txt", "aa" * 32, 11, "text/plain"))
    own = replace(CATS, chunks=(OwnChunk("Cats."),))
    before = [stored(doc) for doc in (CATS, file, own)]
    monkeypatch.setattr("services.ingest.drafts.CHUNKING", CHUNKING + 1)
    planned = [changes([doc], rows) for doc, rows in zip((CATS, file, own), before, strict=True)]
    assert [(len(each.new), each.skipped) for each in planned] == [(1, 0), (1, 0), (0, 1)]


def test_a_file_is_compared_by_its_bytes_and_keeps_its_own_title_and_type() -> None:
    file = RawFile("blob", "cats.txt", "aa" * 32, 11, "text/plain")
    sent = replace(CATS, file=file)
    assert changes([replace(sent, text="", title=None, mime_type="")], stored(sent)).skipped == 1
    assert len(changes([replace(sent, title="Dogs")], stored(sent)).redescribed) == 1
    assert len(changes([replace(sent, file=replace(file, sha256="bb" * 32))], stored(sent)).new) == 1


@pytest.mark.parametrize("status", RevisionStatus)
def test_only_a_revision_with_a_present_status_is_skipped(status: RevisionStatus) -> None:
    existing = stored(CATS, status)
    sync, background = changes([CATS], existing, LIVE), changes([CATS], existing, LIVE, PENDING)
    assert (sync.skipped, sync.waiting_job) == (int(status == LIVE), None)
    assert background.skipped == int(status in (LIVE, PENDING))
    assert background.waiting_job == ("job-7" if status == PENDING else None)


def test_a_pending_revision_that_is_described_anew_still_names_its_job() -> None:
    planned = changes([replace(CATS, title="Dogs")], stored(CATS, PENDING), LIVE, PENDING)
    assert (len(planned.redescribed), planned.skipped, planned.waiting_job) == (1, 0, "job-7")


def test_documents_carry_the_number_of_the_revision_that_they_were_compared_with() -> None:
    other = replace(CATS, text="Cats wake.", base_revision=77)
    assert [doc.base_revision for doc in changes([other], {}).new] == [0]
    assert [doc.base_revision for doc in changes([other], stored(CATS)).new] == [3]
    assert [doc.base_revision for doc in changes([replace(CATS, title="Dogs")], stored(CATS)).redescribed] == [3]
    assert [doc.base_revision for doc in changes([CATS], stored(CATS, is_deleted=True)).new] == [4]


@given(st.lists(st.sampled_from(["same", "renamed", "rewritten", "first"]), max_size=12))
def test_every_document_is_new_redescribed_or_skipped_in_the_order_of_the_batch(kinds: list[str]) -> None:
    docs: list[NewDoc] = []
    existing: dict[str, tuple[Doc, Revision]] = {}
    edited: dict[str, dict[str, Any]] = {"renamed": {"title": "Dogs"}, "rewritten": {"text": "Dogs."}}
    for number, kind in enumerate(kinds):
        doc = replace(CATS, doc_id=f"doc-{number}")
        existing |= {} if kind == "first" else stored(doc)
        docs.append(replace(doc, **edited.get(kind, {})))
    planned = changes(docs, existing)
    by_kind = list(zip(kinds, docs, strict=True))
    assert [doc.doc_id for doc in planned.new] == [
        doc.doc_id for kind, doc in by_kind if kind in ("rewritten", "first")
    ]
    assert [doc.doc_id for doc in planned.redescribed] == [doc.doc_id for kind, doc in by_kind if kind == "renamed"]
    assert planned.skipped == kinds.count("same")


# Preconditions


@pytest.mark.parametrize(
    ("conditions", "refused_if_stored", "refused_if_absent"),
    [
        ({"must_be_new": True}, "already", None),
        ({"expected_hash": "*"}, None, "does not exist, not \\*"),
        ({"expected_hash": CATS.content_hash}, None, "does not exist"),
        ({"expected_hash": "0" * 64}, f"has the hash {CATS.content_hash}, not 0000", "does not exist"),
    ],
)
def test_preconditions_hold_for_the_newest_revision_and_a_deleted_document_is_absent(
    conditions: dict[str, Any], refused_if_stored: str | None, refused_if_absent: str | None
) -> None:
    doc = replace(CATS, **conditions)
    deleted = stored(CATS, is_deleted=True)
    for existing, why in ((stored(CATS), refused_if_stored), ({}, refused_if_absent), (deleted, refused_if_absent)):
        if why is None:
            planned = changes([doc], existing)
            assert len(planned.new) + planned.skipped == 1
            continue
        with pytest.raises(PreconditionFailed, match=why) as refusal:
            changes([doc], existing)
        assert refusal.value.param == "doc_id"


# Plans


def draft(doc: NewDoc, *texts: str, header: str = "") -> Draft:
    spans = tuple(Span(0, len(text), text, 1) for text in texts)
    keys = tuple(f"{header}|{text}".encode() for text in texts)
    return Draft(doc, doc.content_hash, "recipe", spans, (header,) * len(texts), keys)


def test_a_text_is_embedded_once_with_its_header_however_many_chunks_share_it() -> None:
    drafts = [draft(CATS, "one", "two", "one"), draft(CATS, "two"), draft(CATS, "two", header="Cats")]
    plan = WritePlan(Project(name="namespace"), Changes([CATS] * 3, [], 0, None), drafts, "version")
    assert plan.chunk_count == 5
    assert plan.texts == {b"|one": "one", b"|two": "two", b"Cats|two": "Cats\n\ntwo"}


def test_chunks_that_bring_their_vectors_are_not_embedded() -> None:
    doc = replace(CATS, chunks=(OwnChunk("one", vector=b"\0\0\x80?\0\0\0\0"), OwnChunk("two", vector=b"\0" * 8)))
    external = draft(doc, "one", "two")
    assert doc.dimension == 2
    assert external.texts == {}
    assert external.vectors == {b"|one": b"\0\0\x80?\0\0\0\0", b"|two": b"\0" * 8}
    assert draft(replace(CATS, chunks=(OwnChunk("one"),)), "one").vectors == {}


def test_results_of_several_namespaces_add_up_and_the_first_job_is_named() -> None:
    total = UpsertResult(1, 2, 3, 4, 5, 6) + UpsertResult(10, 20, 30, 40, 50, 60, "b") + UpsertResult(job_id="c")
    assert total == UpsertResult(11, 22, 33, 44, 55, 66, "b")


# Times and folders

ZONES = st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(2, 1, 3), datetime(9998, 12, 29), timezones=ZONES)


@given(TIMES.map(in_utc), st.floats(allow_nan=False))
def test_a_shifted_time_can_be_stored_and_lies_on_the_side_it_was_shifted_to(time: datetime, seconds: float) -> None:
    moment = shifted(time, seconds=seconds)
    assert EARLIEST <= moment <= LATEST
    assert moment >= time if seconds >= 0 else moment <= time
    assert shifted(time, days=seconds) >= moment if seconds >= 0 else shifted(time, days=seconds) <= moment
    assert shifted(time, days=1e9 - 1, seconds=-1e10) == LATEST


def test_a_synced_folder_is_closed_again_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    def next_descriptor() -> int:
        descriptor = os.open(tmp_path, os.O_RDONLY)
        os.close(descriptor)
        return descriptor

    before = next_descriptor()
    sync_folder(tmp_path)
    assert next_descriptor() == before
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")
