"""What the tools return: short, with the id that leads on, and without what says nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from api.mcp.references import DocReference
from domain import JobStatus, Json

if TYPE_CHECKING:
    from api.v1.ask import AskOut, CitationOut
    from api.v1.documents import DeleteOut, DocOut
    from api.v1.jobs import JobOut
    from api.v1.search import PassageOut, SearchOut
    from services.accounts.teams import ProjectInfo

SNIPPET_CHARS, QUOTED_CHARS, ERROR_CHARS, TITLE_CHARS = 700, 300, 500, 200
MOST_METADATA_CHARS = 4000
MOST_FAILURES = 10
SCORE_DIGITS = 4


def search_results(answer: SearchOut, namespace: str, *, skipped: int, next_offset: int | None) -> Json:
    results = [_result(each, DocReference(namespace, each.doc_id)) for each in answer.chunks[skipped:]]
    hint = answer.hints[0].message if answer.hints else answer.hint
    return _without_none({"results": results, "next_offset": next_offset, "hint": hint})


def document_text(document: DocOut, reference: DocReference, text: str, *, next_offset: int | None) -> Json:
    return _without_none(
        {
            "id": str(reference),
            "title": _titled(document.title, document.doc_id),
            "text": text,
            "url": reference.url(document.metadata),
            "metadata": _bounded(document.metadata),
            "next_offset": next_offset,
        }
    )


def answer_with_citations(answer: AskOut, namespace: str) -> Json:
    citations = [_citation(each, DocReference(namespace, each.doc_id)) for each in answer.citations]
    return _without_none({"answer": answer.answer, "citations": citations, "hint": answer.hint})


def namespace_list(namespaces: Sequence[ProjectInfo], *, has_more: bool) -> Json:
    names = [{"namespace": each.namespace, "documents": each.live_docs} for each in namespaces]
    return {"namespaces": names, "has_more": has_more}


def document_list(documents: Sequence[DocOut], namespace: str, *, next_after: str | None) -> Json:
    return _without_none({"documents": [_listed(each, namespace) for each in documents], "next_after": next_after})


def stored(document: DocOut, *, is_unchanged: bool, job_id: str | None) -> Json:
    return {
        "id": str(DocReference(document.namespace, document.doc_id)),
        "revision": document.revision,
        "status": document.status,
        "is_unchanged": is_unchanged,
        "job_id": job_id,
    }


def deleted(deletion: DeleteOut) -> Json:
    return {"deleted": deletion.deleted, "doc_id": deletion.doc_id, "job_id": deletion.job_id}


def job_state(job: JobOut) -> Json:
    failures = (job.result or {}).get("errors") or []
    return _without_none(
        {
            "job_id": job.job_id,
            "type": job.type,
            "status": job.status,
            "outcome": job.outcome,
            "progress": job.progress,
            "seconds_left": job.seconds_left,
            "error": job.error and shortened(job.error, ERROR_CHARS),
            "failed_documents": job.failed_documents,
            "failures": [_failure(each) for each in failures[:MOST_FAILURES]] or None,
            "advice": _advice(job),
        }
    )


def shortened(text: str, most: int) -> str:
    """Cut at a word if one ends near the limit."""
    if len(text) <= most:
        return text
    cut = text[: most - 1]
    return (cut[: cut.rfind(" ")] if " " in cut[-most // 10 :] else cut) + "…"


def _result(passage: PassageOut, reference: DocReference) -> Json:
    return _without_none(
        {
            "id": str(reference),
            "title": _titled(passage.title, passage.doc_id),
            "url": reference.url(passage.metadata),
            "snippet": shortened(passage.text or "", SNIPPET_CHARS),
            "score": round(passage.score, SCORE_DIGITS),
            "doc_id": passage.doc_id,
            "chunk_id": passage.chunk_id,
            "page": passage.page_start,
            "offset": passage.char_start,
        }
    )


def _citation(cited: CitationOut, reference: DocReference) -> Json:
    return _without_none(
        {
            "marker": f"[{cited.rank}]",
            "id": str(reference),
            "title": _titled(cited.title, cited.doc_id),
            "snippet": shortened(cited.text, QUOTED_CHARS),
            "page": cited.page_start,
            "offset": cited.char_start,
        }
    )


def _listed(document: DocOut, namespace: str) -> Json:
    return _without_none(
        {
            "id": str(DocReference(namespace, document.doc_id)),
            "doc_id": document.doc_id,
            "title": document.title and _titled(document.title, document.doc_id),
            "status": document.status,
            "error": document.error and shortened(document.error, ERROR_CHARS),
            "updated_at": document.updated_at.isoformat(timespec="seconds"),
        }
    )


def _titled(title: str | None, doc_id: str) -> str:
    return shortened(title or doc_id, TITLE_CHARS)


def _failure(failure: Json) -> Json:
    return {name: shortened(str(value), ERROR_CHARS) for name, value in failure.items() if name in ("doc_id", "error")}


def _advice(job: JobOut) -> str | None:
    if job.outcome is None:
        is_waiting = job.status == JobStatus.PENDING
        return "Waits for a worker: call again in some seconds." if is_waiting else "Call again in some seconds."
    return "Correct what the errors name, and add the documents again." if job.failed_documents or job.error else None


def _bounded(metadata: Json) -> Json:
    """Large metadata are left out whole: a part of them could mean something else."""
    size = len(json.dumps(metadata, ensure_ascii=False))
    if size <= MOST_METADATA_CHARS:
        return metadata
    return {"…": f"{size} characters of metadata are left out here: GET /v1/docs/{{doc_id}} has them."}


def _without_none(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value is not None}
