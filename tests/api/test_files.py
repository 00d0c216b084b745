"""Files over HTTP: uploaded, read by a worker, found by page and heading, given back; and whatever goes wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import select

from database.engine import Database
from errors import Conflict
from models import PendingBlob
from services.ingest.drafts import AUTO, NewDoc
from services.ingest.uploading import doc_id_of, plain_filename
from tests.support import files
from tests.support.processes import api_process, until, worker_process
from tests.support.s3 import running_s3
from tests.support.service import PLACE, Service, end_leases, open_service, settings_in

Sent = dict[str, bytes]


def send(
    service: Service, sent: Sent, *, expect: int = 200, headers: dict[str, str] | None = None, **fields: Any
) -> Any:
    parts = [("file", (name, content)) for name, content in sent.items()]
    answer = service.client.post("/v1/docs/upload", files=parts, data={**PLACE, **fields}, headers=headers)
    assert answer.status_code == expect, answer.text
    return answer.json()


def get_file(service: Service, doc_id: str) -> Any:
    return service.client.get(f"/v1/docs/{doc_id}/file", params=PLACE)


def blobs(service: Service) -> list[Path]:
    folder = Path(service.settings.blob_store_url.removeprefix("file://"))
    return [path for path in folder.rglob("*") if path.is_file()]


def pending(service: Service) -> list[str]:
    with service.runtime.database.read() as session:
        return list(session.scalars(select(PendingBlob.name)))


def uploaded(service: Service, name: str, content: bytes, **fields: Any) -> Any:
    """The document, after a worker had its turn."""
    [doc] = send(service, {name: content}, **fields)["docs"]
    service.work()
    return service.doc(doc["doc_id"])


def test_an_uploaded_file_is_found_by_page_and_heading_and_comes_back_as_it_was(service: Service) -> None:
    content = files.pdf()
    answer = send(service, {"fees 2026.pdf": content}, metadata=json.dumps({"year": 2026}))
    doc_id = doc_id_of(PLACE["namespace"], "fees 2026.pdf")
    expected = {
        "doc_id": doc_id,
        "filename": "fees 2026.pdf",
        "mime_type": "application/pdf",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert (answer["accepted"], answer["docs"]) == (1, [expected])
    waiting = service.doc(doc_id)
    assert (waiting["status"], waiting["live_revision"], waiting["job_id"]) == ("uploaded", None, answer["job_id"])
    service.work()
    doc = service.doc(doc_id)
    assert (doc["status"], doc["title"], doc["source_type"]) == ("ready", "The Harbour", "upload")
    assert (doc["filename"], doc["warnings"]) == ("fees 2026.pdf", [])
    best = service.search("When are fees paid?")["chunks"][0]
    assert (best["doc_id"], best["section"], best["page_start"], best["page_end"]) == (doc_id, "Fees", 2, 2)
    assert best["metadata"] == {"filename": "fees 2026.pdf", "year": 2026}
    file = get_file(service, doc_id)
    assert file.content == content
    assert file.headers["content-type"] == "application/pdf"
    assert file.headers["content-disposition"].startswith('attachment; filename="fees 2026.pdf"')
    assert file.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in file.headers["content-security-policy"]
    assert service.problems() == [] and pending(service) == [] and len(blobs(service)) == 1


def test_many_files_are_one_job_and_a_bad_one_costs_only_itself(service: Service) -> None:
    sent = {"a.pdf": files.pdf(), "b.docx": files.word(), "c.html": files.html(), "d.pdf": files.pdf(password="x")}
    job_id = send(service, sent, doc_id=["pdf", "word", "page", "locked"])["job_id"]
    service.work()
    job = service.job(job_id)
    assert (job["status"], job["progress"]) == ("completed", 100)
    members = ("docs", "published", "failed", "errors")
    reason = "It is protected by a password: send it without one."
    assert [job["result"][key] for key in members] == [4, 3, 1, [{"doc_id": "locked", "error": reason}]]
    assert (service.doc("locked")["status"], service.doc("locked")["error"]) == ("failed", reason)
    assert {service.doc(doc_id)["status"] for doc_id in ("pdf", "word", "page")} == {"ready"}
    assert service.doc("word")["mime_type"].endswith("wordprocessingml.document")
    assert get_file(service, "page").headers["content-type"] == "text/html"
    assert service.problems() == []


def test_the_same_bytes_again_are_skipped_and_nothing_of_them_is_kept(service: Service) -> None:
    uploaded(service, "a.pdf", files.pdf())
    kept = blobs(service)
    again = send(service, {"a.pdf": files.pdf()})
    assert (again["skipped_docs"], again["upserted_docs"], again["job_id"]) == (1, 0, None)
    assert (blobs(service), pending(service)) == (kept, [])
    renamed = send(service, {"a.pdf": files.pdf()}, title="Another title")
    assert (renamed["skipped_docs"], renamed["upserted_docs"], renamed["job_id"]) == (0, 1, None)
    assert service.doc(doc_id_of(PLACE["namespace"], "a.pdf"))["title"] == "Another title"
    assert blobs(service) == kept


def test_a_file_that_waits_is_not_taken_twice(service: Service) -> None:
    first, second = (send(service, {"a.pdf": files.pdf()}) for _ in range(2))
    assert (second["skipped_docs"], second["job_id"]) == (1, first["job_id"])
    assert len(blobs(service)) == 1


def test_the_same_text_in_another_file_is_read_and_not_embedded_again(service: Service) -> None:
    uploaded(service, "a.md", files.MARKDOWN)
    changed = files.MARKDOWN + b"\n\n\n"
    job = service.job(send(service, {"a.md": changed})["job_id"])
    service.work()
    result = service.job(job["job_id"])["result"]
    assert (result["published"], result["chunks_embedded"]) == (1, 0)
    assert result["chunks_reused"] == result["chunks_created"] > 0


def test_a_file_that_fails_leaves_the_previous_revision_found(service: Service) -> None:
    uploaded(service, "a.pdf", files.pdf(), doc_id="fees")
    doc = uploaded(service, "a.pdf", files.scanned_pdf(with_text=False), doc_id="fees")
    assert (doc["status"], doc["error"]) == ("failed", "Page 1 is a scan without text: OCR is off.")
    assert (doc["revision"], doc["live_revision"]) == (2, 1)
    assert service.hit_ids("fees")[0] == "fees"
    assert uploaded(service, "a.pdf", files.pdf(), doc_id="fees")["status"] == "ready"
    assert service.problems() == []


def test_what_a_file_lost_is_told_with_the_document_and_its_job(service: Service) -> None:
    doc = uploaded(service, "a.pdf", files.scanned_pdf(with_text=True), doc_id="mixed")
    warnings = ["page 3 is a scan without text: OCR is off."]
    assert (doc["status"], doc["warnings"]) == ("ready", warnings)
    assert doc["warning_details"] == [{"code": "scan_without_text", "message": warnings[0], "page": 3, "part": None}]
    assert service.job(doc["job_id"])["result"]["warnings"] == [{"doc_id": "mixed", "warnings": warnings}]


def test_text_that_is_sent_later_wins_over_a_file_that_waits(service: Service) -> None:
    job_id = send(service, {"a.pdf": files.pdf()}, doc_id="doc")["job_id"]
    service.upsert("doc", "Sent later.")
    service.work()
    assert [chunk["text"] for chunk in service.search("later")["chunks"]] == ["Sent later."]
    assert service.job(job_id)["result"]["superseded"] == 1
    assert get_file(service, "doc").status_code == 404
    assert service.problems() == []


def test_how_a_file_is_cut_can_be_said(service: Service) -> None:
    doc = uploaded(service, "a.pdf", files.pdf(), doc_id="doc", chunk_strategy="pages", enrich_context="true")
    assert doc["status"] == "ready"
    chunks = service.chunks("doc")
    assert [(chunk["page_start"], chunk["page_end"]) for chunk in chunks] == [(1, 1), (2, 2)]
    assert chunks[1]["header"] == "The Harbour > Fees"


BAD: list[tuple[Sent, dict[str, Any], int, str]] = [
    ({"a.pdf": b""}, {}, 422, "'a.pdf' is empty: it has 0 bytes."),
    ({"a.pdf": b"plain"}, {}, 422, "It is called a PDF but is not one"),
    ({"a.exe": b"MZ\x00\x01\x02"}, {}, 422, "It is none of the files that can be read"),
    ({"a.txt": b"text"}, {"namespace": ""}, 422, "namespace is empty"),
    ({"a.txt": b"text"}, {"doc_id": ["a", "b"]}, 422, "There are 1 files and 2 of doc_id"),
    ({"a.txt": b"text", "b.txt": b"text"}, {"doc_id": ["a", "a"]}, 422, "have the same doc_id"),
    ({"a.txt": b"text"}, {"chunk_strategy": "psychic"}, 422, "There is no strategy 'psychic'"),
    ({"a.txt": b"text"}, {"metadata": "[1]"}, 422, "valid dictionary"),
    ({"a.txt": b"text"}, {"metadata": "{"}, 422, "metadata: This is not valid JSON"),
    ({"a.txt": b"text"}, {"metadata": '{"a": 1, "a": 2}'}, 422, "metadata: This is not valid JSON (the key 'a' stands"),
    ({"a.txt": b"text"}, {"metadata": '{"a": NaN}'}, 422, "NaN is not a JSON number"),
    ({"a.txt": b"text"}, {"chunk_overlap": "many"}, 422, "valid integer"),
    ({"a.txt": b"text"}, {"chunk_overlap": ["1", "2"]}, 422, "chunk_overlap' twice"),
    ({"a.txt": b"text"}, {"title": "x" * 2000}, 422, "at most 1000 characters"),
    ({"a.txt": b"x" * (1 << 20)}, {}, 413, "(MAX_UPLOAD_MB)"),
    ({f"{n}.txt": b"text" for n in range(4)}, {}, 413, "At most 3 files are accepted at once (MAX_BATCH_DOCS)"),
]


def test_a_bad_upload_is_refused_in_words_and_leaves_nothing(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path, max_upload_mb=1, max_batch_docs=3)) as service:
        for sent, fields, status, message in BAD:
            problem = send(service, sent, expect=status, **fields)
            assert message in problem["detail"], problem
            assert (blobs(service), pending(service)) == ([], [])
        assert service.client.post("/v1/docs/upload", json=PLACE).status_code == 422
        broken = {"content-type": "multipart/form-data; boundary=x"}
        assert service.client.post("/v1/docs/upload", content=b"--x\r\n", headers=broken).status_code == 422
        assert uploaded(service, "good.txt", b"Cats sleep.")["status"] == "ready"


@pytest.mark.parametrize(
    ("name", "content_of", "reason"),
    [
        ("bomb.docx", lambda: files.word_bomb(100), "(MAX_TEXT_CHARS)"),
        ("wide.docx", lambda: files.word_bomb(200), "at most 160 MB are unpacked (EXTRACT_MEMORY_MB)"),
        ("laughs.docx", files.word_with_entities, "Its XML defines entities"),
        ("long.pdf", lambda: files.pdf_of(10_000), "It has 10000 pages; at most 5000 are accepted (MAX_PAGES)"),
        ("locked.pdf", lambda: files.pdf(password="secret"), "It is protected by a password"),
        ("broken.pdf", lambda: files.pdf()[:900], "It is damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_mean_harm_fail_and_the_worker_goes_on(
    tmp_path: Path, name: str, content_of: Callable[[], bytes], reason: str
) -> None:
    settings = settings_in(tmp_path, extract_memory_mb=160, max_text_chars=1_000_000)
    with open_service(settings) as service:
        uploaded(service, "before.txt", b"Dogs bark.")
        content, before = content_of(), psutil.Process().memory_info().rss
        doc = uploaded(service, name, content)
        assert doc["status"] == "failed"
        assert reason in doc["error"] or "160 MB of memory" in doc["error"]
        assert psutil.Process().memory_info().rss - before < 100 << 20
        assert uploaded(service, "good.txt", b"Cats sleep.")["status"] == "ready"
        assert service.problems() == []


def test_old_and_wide_encodings_are_found(service: Service) -> None:
    uploaded(service, "latin.txt", "Der Fluß ist schön.".encode("latin-1"), doc_id="latin")
    uploaded(service, "wide.txt", "Das Meer ist größer.".encode("utf-16"), doc_id="wide")
    texts = {chunk["text"] for chunk in service.search("Fluß und Meer")["chunks"]}
    assert texts == {"Der Fluß ist schön.", "Das Meer ist größer."}


def test_a_keyed_upload_is_done_once_whatever_its_boundary(service: Service) -> None:
    key = {"Idempotency-Key": "upload-1"}
    first = send(service, {"a.md": files.MARKDOWN}, headers=key)
    service.work()
    assert send(service, {"a.md": files.MARKDOWN}, headers=key) == first
    assert "another request" in send(service, {"a.md": b"Other."}, headers=key, expect=422)["detail"]
    assert len(blobs(service)) == 1


def test_names_of_files_are_the_last_part_of_a_path_and_never_one_of_ours(service: Service) -> None:
    assert plain_filename("../../etc/passwd") == "passwd"
    assert plain_filename("C:\\secret\\plan\x00\n.txt") == "plan.txt"
    assert plain_filename("../../") == "unnamed"
    long, other = plain_filename("x" * 300 + ".pdf"), plain_filename("x" * 301 + ".pdf")
    assert len(long) == 255 and long.endswith(".pdf") and long != other
    [doc] = send(service, {'../../naïve "file".txt': b"Cats sleep."})["docs"]
    file = get_file(service, doc["doc_id"])
    assert "\r" not in file.headers["content-disposition"]
    assert "filename*=UTF-8''na%C3%AFve%20" in file.headers["content-disposition"]
    assert all("passwd" not in str(path) and "acme" not in path.name for path in blobs(service))


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (b'name="file"; filename="=?utf-8?Q?F=C3=A4hre.txt?="', "Fähre.txt"),
        (b"name=file; filename*=UTF-8''F%C3%A4hre%20%231.txt", "Fähre #1.txt"),
        (b"name=\"file\"; filename=x.txt; filename*=iso-8859-1'de'F%E4hre.txt", "Fähre.txt"),
        (b'name="file"; filename*0*=UTF-8\'\'F%C3%A4; filename*1="hre.txt"', "Fähre.txt"),
        (b'name="file"; filename="F\xe4hre.txt"', "Fähre.txt"),
        ('name="file"; filename="Fa\u0308hre.txt"'.encode(), "Fähre.txt"),
        (b'name="file"; filename="=?x?broken"', "=?x?broken"),
        (b'name="file"; filename=".."', "unnamed"),
        (b'name="file"; filename="' + b"y" * 5000 + b'.txt"', "y" * 20),
    ],
)
def test_a_name_is_understood_however_it_is_sent_and_refuses_no_other(
    service: Service, disposition: bytes, name: str
) -> None:
    fields = [(f'name="{key}"'.encode(), value.encode()) for key, value in PLACE.items()]
    sent = [*fields, (disposition, b"Cats sleep."), (b'name="file"; filename="b.txt"', b"Dogs bark.")]
    sent.append((b'name="file"; filename=""', b""))
    parts = [b"--x\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % each for each in sent]
    kind = {"content-type": "multipart/form-data; boundary=x"}
    answer = service.client.post("/v1/docs/upload", content=b"".join(parts) + b"--x--\r\n", headers=kind)
    first, second = answer.raise_for_status().json()["docs"]
    assert first["filename"][: max(len(name), 20)] == name and second["filename"] == "b.txt"
    assert first["doc_id"] == doc_id_of(PLACE["namespace"], first["filename"])
    assert len(first["filename"]) <= 255 and (blobs(service), pending(service))[1] == []


def test_tenants_do_not_see_each_others_files(service: Service) -> None:
    uploaded(service, "a.txt", b"Cats sleep.", doc_id="doc")
    other = service.client.get("/v1/docs/doc/file", params={**PLACE, "tenant_id": "other"})
    assert other.status_code == 404


# A crash, a store that is away


def test_what_a_crash_leaves_is_swept_after_the_grace_time_and_nothing_else_is(service: Service) -> None:
    uploaded(service, "a.txt", b"Cats sleep.", doc_id="doc")
    [kept] = blobs(service)
    incoming = service.runtime.ingest.uploads.begin("left.txt")
    incoming.write(b"Nobody took it.")
    incoming.finish()
    half = service.runtime.ingest.uploads.begin("half.txt")
    half.write(b"The process died here.")
    assert len(blobs(service)) == 3
    assert service.runtime.ingest.pending_blobs.sweep(grace_seconds=3600) == 0
    assert service.runtime.ingest.pending_blobs.sweep(grace_seconds=0) == 2
    assert (blobs(service), pending(service)) == ([kept], [])
    assert get_file(service, "doc").content == b"Cats sleep."


def test_a_file_that_was_given_up_while_it_was_sent_is_refused_and_not_lost_silently(service: Service) -> None:
    incoming = service.runtime.ingest.uploads.begin("slow.txt")
    incoming.write(b"Cats sleep.")
    file = incoming.finish()
    service.runtime.ingest.pending_blobs.sweep(grace_seconds=0)
    place = (PLACE["tenant_id"], PLACE["namespace"])
    doc = NewDoc(*place, doc_id="slow", text="", metadata={}, chunk_strategy=AUTO, file=file)
    with pytest.raises(Conflict, match="send it again"):
        service.runtime.ingest.uploads.accept([doc])
    assert service.get("/v1/docs", PLACE)["data"] == []


def test_a_store_that_cannot_be_written_is_a_clear_503_and_nothing_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with open_service(settings_in(tmp_path, blob_store_url=f"file://{tmp_path}/file/raw")) as service:
        problem = send(service, {"a.txt": b"Cats sleep."}, expect=503)
        assert problem["error"]["code"] == "blob_store_unavailable"
        assert str(tmp_path) not in problem["detail"]
        assert service.get("/v1/docs", PLACE)["data"] == []


def test_a_job_waits_for_raw_files_that_are_away_and_loses_none(service: Service) -> None:
    job_id = send(service, {"a.txt": b"Cats sleep."}, doc_id="doc")["job_id"]
    folder = Path(service.settings.blob_store_url.removeprefix("file://"))
    folder.rename(folder.with_name("away"))
    service.worker.run_one()
    job = service.job(job_id)
    assert job["status"] == "pending"
    assert job["error"].startswith("A raw file is not in the folder that BLOB_STORE_URL names")
    folder.with_name("away").rename(folder)
    service.work()
    assert (service.job(job_id)["status"], service.doc("doc")["status"]) == ("completed", "ready")


def test_an_api_that_is_killed_amid_an_upload_has_accepted_nothing_and_a_worker_tidies_up(
    tmp_path: Path, remote: dict[str, Any]
) -> None:
    settings = settings_in(tmp_path, blob_grace_hours=1e-9, **remote)
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    with api_process(settings) as api:

        def half() -> Iterator[bytes]:
            yield head + b"Cats sleep. " * 100_000
            until(lambda: any(path.suffix == ".tmp" for path in tmp_path.rglob("raw_files/*/*")))
            api.process.kill()
            yield b"never read"

        with pytest.raises(httpx.TransportError):
            kind = {"Content-Type": "multipart/form-data; boundary=x"}
            api.client.post("/v1/docs/upload", content=half(), headers=kind)
    with open_service(settings) as service:
        assert (len(blobs(service)), len(pending(service))) == (1, 1)
        service.worker.housekeeping.run_due_chores()
        assert (blobs(service), pending(service)) == ([], [])
        assert service.get("/v1/docs", PLACE)["data"] == []


def test_below_the_low_water_mark_no_file_is_taken(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path, min_free_disk_mb=1 << 40)) as service:
        assert send(service, {"a.txt": b"Cats sleep."}, expect=507)["error"]["code"] == "storage_full"


def test_an_upload_survives_the_kill_of_its_worker(tmp_path: Path, remote: dict[str, Any]) -> None:
    settings = settings_in(tmp_path, worker_nice=0, **remote)
    with api_process(settings) as api:
        parts = [("file", (f"{n}.pdf", files.pdf())) for n in range(6)]
        answer = api.client.post("/v1/docs/upload", files=parts, data=PLACE).raise_for_status().json()
        with worker_process(settings) as worker:
            until(lambda: api.job(answer["job_id"])["progress"] > 0)
            worker.kill()
        with Database.open(settings.database_url) as database:
            end_leases(database)
        with worker_process(settings):
            job = api.wait(answer["job_id"])
        assert (job["status"], job["result"]["published"]) == ("completed", 6)
        docs = api.get("/v1/docs", **PLACE)["data"]
        assert {doc["status"] for doc in docs} == {"ready"}


# S3


def test_raw_files_in_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_in(tmp_path, blob_store_url="s3://raw-files/ours", max_upload_mb=64)
    with running_s3(monkeypatch) as s3, open_service(settings) as service:
        doc = uploaded(service, "a.pdf", files.pdf(), doc_id="doc")
        assert doc["status"] == "ready"
        assert get_file(service, "doc").content == files.pdf()
        [key] = s3.keys()
        assert key.startswith("ours/") and "acme" not in key
        large = b"Cats sleep. " * (3 << 20)  # in several parts
        send(service, {"large.txt": large}, doc_id="large")
        assert get_file(service, "large").content == large
        assert len(s3.keys()) == 2
        send(service, {"bad.exe": b"MZ\x00" * (8 << 20)}, expect=422)
        assert len(s3.keys()) == 2
        assert s3.unfinished() == []


def test_a_bucket_that_is_away_is_a_clear_503_and_the_job_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_s3(monkeypatch) as s3, open_service(settings_in(tmp_path, blob_store_url="s3://raw-files")) as service:
        job_id = send(service, {"a.txt": b"Cats sleep."}, doc_id="doc")["job_id"]
        s3.server.stop()
        problem = send(service, {"b.txt": b"Dogs bark."}, expect=503)
        assert problem["error"]["code"] == "blob_store_unavailable"
        assert "127.0.0.1" not in problem["detail"] and "raw-files" not in problem["detail"]
        assert get_file(service, "doc").status_code == 503
        service.worker.run_one()
        job = service.job(job_id)
        assert job["status"] == "pending"
        assert job["error"].startswith("The bucket of raw files cannot be reached")
        assert service.doc("doc")["status"] == "processing"
