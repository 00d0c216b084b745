"""A tenant's export, imported into an installation on the other kind of database, under another name."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zstandard
from sqlalchemy import func, select
from typer.testing import CliRunner, Result

import manage
from domain import Mode, Scope
from errors import Conflict, DamagedExport, Invalid, NotFound, ServiceError, VersionMismatch
from models import Embedding, IngestUsage, PendingBlob, Project, Revision
from services.operations.archives import verified
from services.operations.exporting import ExportOptions
from services.operations.importing import ImportedNamespace, ImportTarget
from tests.support.accounts import issue
from tests.support.prose import prose
from tests.support.service import MODEL, PLACE, Service, environment, open_service, settings_in

TENANT = "Zoë & Söhne"
OWN = {**PLACE, "namespace": "own/vectors"}
QUERIES = [prose(10_000 + number, 1) for number in range(20)]
Change = Callable[[dict[str, bytes]], Any]
ALL = ExportOptions(with_vectors=True)
NO_MODEL = {"embed_backend": "remote", "embed_base_url": "http://127.0.0.1:9/v1", "embed_model_name": "nobody"}


def furnish(service: Service) -> None:
    """Documents of every kind, some of which were replaced, deleted, or are not searchable yet."""
    service.batch({f"doc-{number:02d}": f"{prose(number)}\n\n{prose(500 + number, 6)}" for number in range(20)})
    service.upsert("doc-07", "A newer text.", metadata={"year": 2020, "größe": [1, 1.5, None]}, title="Títle")
    service.upsert("enriched", f"# Licences\n\n{prose(80, 9)}", title="Guide", enrich_context=True)
    chunks = [{"text": f"{prose(90 + n)}", "metadata": {"n": n} if n else None, "page": n + 1} for n in range(3)]
    service.post("/v1/docs/upsert", {**PLACE, "doc_id": "own", "chunks": chunks})
    files = {"file": ("guide.md", f"# Guide\n\n{prose(70)}".encode(), "text/markdown")}
    service.client.post("/v1/docs/upload", data={**PLACE, "doc_id": "file"}, files=files)
    service.work()
    service.delete("doc-03")
    service.batch({"waits": prose(99)}, async_mode=True)
    vectors = [{"text": prose(600 + n), "vector": [0.1 * n - 0.3, 1.0, 0.2]} for n in range(4)]
    service.post("/v1/docs/upsert", {**OWN, "doc_id": "vectors", "chunks": vectors})


def exported(service: Service, file: Path, options: ExportOptions = ALL) -> Path:
    file.write_bytes(b"".join(service.runtime.operations.exporting.export(PLACE["tenant_id"], options)))
    return file


def imported(service: Service, file: Path, target: ImportTarget = ImportTarget(TENANT)) -> list[ImportedNamespace]:  # noqa: B008
    importing = service.runtime.operations.importing
    return importing.run(importing.open(file), target, lambda *_: None)


@contextmanager
def other_installation(
    service: Service, request: pytest.FixtureRequest, folder: Path, **changed: Any
) -> Iterator[Service]:
    """On the other kind of database."""
    folder.mkdir()
    if service.runtime.database.file is None:
        with open_service(settings_in(folder, **changed)) as other:
            yield other
        return
    server = request.getfixturevalue("migrated_postgres")
    with server.database() as url, open_service(settings_in(folder, database_url=url, **changed)) as other:
        yield other


def content(service: Service, tenant_id: str) -> Any:
    """All that a client sees of the tenant's documents, but for times and numbers of revisions."""
    place = {"tenant_id": tenant_id, "namespace": PLACE["namespace"]}
    docs = service.get("/v1/docs", {**place, "limit": 1000})["data"]
    said = {}
    for doc in docs:
        if doc["status"] == "ready":
            path = f"/v1/docs/{doc['doc_id']}"
            chunks = service.get(f"{path}/chunks", {**place, "limit": 1000})["data"]
            raw = service.client.get(f"{path}/file", params=place).content if doc["filename"] else b""
            unlike = {"tenant_id", "revision", "live_revision", "job_id", "updated_at"}
            said[doc["doc_id"]] = ({key: each for key, each in doc.items() if key not in unlike}, chunks, raw)
    with service.runtime.database.read() as session:
        texts = select(Revision.doc_id, Revision.text, Revision.recipe).where(Revision.status == "live")
        return said, sorted(tuple(row) for row in session.execute(texts))


def answers(service: Service, tenant_id: str) -> list[list[tuple[str, str]]]:
    place = {"tenant_id": tenant_id, "namespace": PLACE["namespace"]}
    modes: tuple[Mode, ...] = ("dense", "hybrid", "keyword")
    bodies = [{**place, "query": query, "top_k": 10, "mode": mode} for query in QUERIES for mode in modes]
    bodies.append({**OWN, "tenant_id": tenant_id, "vector": [0.0, 1.0, 0.1], "mode": "dense"})
    hits = [service.post("/v1/search", body)["chunks"] for body in bodies]
    assert all(hits)
    return [[(chunk["doc_id"], chunk["chunk_id"]) for chunk in chunks] for chunks in hits]


def test_a_tenant_goes_to_the_other_database_and_back_under_other_names_and_nothing_is_embedded(
    service: Service, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    furnish(service)
    before, first = content(service, PLACE["tenant_id"]), answers(service, PLACE["tenant_id"])
    file = exported(service, tmp_path / "there.tar.zst")
    with other_installation(service, request, tmp_path / "other", **NO_MODEL) as other:
        outcomes = imported(other, file)
        assert [(each.namespace, each.result.chunks_embedded) for each in outcomes] == [
            ("own/vectors", 0),
            ("project_001", 0),
        ]
        assert [each.result.skipped_docs for each in imported(other, file)] == [1, 22]
        audited = other.runtime.operations.audit.page(limit=9, action="namespace.imported")
        assert [(row.object, row.details) for row in audited] == [
            ("project_001", {"documents": 22}),
            ("own/vectors", {"documents": 1}),
        ]
        with other.runtime.database.read() as session:
            assert session.scalar(select(func.sum(IngestUsage.chunks_embedded))) == 0
            assert session.scalar(select(func.count()).select_from(PendingBlob)) == 0
        assert content(other, TENANT) == before
        with other.restarted(embed_backend="auto", embed_model_name=MODEL) as able:
            assert answers(able, TENANT) == first
            assert able.problems() == []
            back = tmp_path / "back.tar.zst"
            back.write_bytes(b"".join(able.runtime.operations.exporting.export(TENANT, ALL)))
    [_, again] = imported(service, back, ImportTarget("back"))
    assert (again.result.chunks_embedded, again.result.upserted_docs) == (0, 22)
    assert answers(service, "back") == first
    with service.runtime.database.read() as session:
        assert session.scalar(select(func.count(func.distinct(Embedding.embedding_version)))) == 3


def test_without_vectors_texts_are_embedded_here_and_without_files_documents_keep_their_texts(
    service: Service, tmp_path: Path
) -> None:
    furnish(service)
    file = exported(service, tmp_path / "small.tar.zst", ExportOptions(PLACE["namespace"], with_files=False))
    [outcome] = imported(service, file, ImportTarget("other", "copy"))
    assert outcome.result.chunks_embedded == outcome.result.chunks_created > 20
    place = {"tenant_id": "other", "namespace": "copy"}
    assert service.get("/v1/docs/file", place)["filename"] is None
    assert service.get("/v1/docs/file/chunks", place)["data"] == service.chunks("file")
    assert service.post("/v1/search", {**place, "query": QUERIES[0]})["chunks"]
    assert service.problems() == []


def test_an_import_that_dies_goes_on_behind_its_last_step(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.batch({f"doc-{number}": f"{number} cats." for number in range(9)})
    files = {"file": ("guide.md", b"# Guide", "text/markdown")}
    service.client.post("/v1/docs/upload", data={**PLACE, "doc_id": "file"}, files=files)
    service.work()
    file = exported(service, tmp_path / "all.tar.zst")
    monkeypatch.setattr("services.operations.importing.DOCS_PER_STEP", 4)

    def die(done: int, *_: Any) -> None:
        if done >= 8:
            raise KeyboardInterrupt

    importing = service.runtime.operations.importing
    with pytest.raises(KeyboardInterrupt):
        importing.run(importing.open(file), ImportTarget(TENANT), die)
    with service.runtime.database.read() as session:
        assert session.scalar(select(func.count()).select_from(PendingBlob)) == 0
    [rest] = imported(service, file)
    assert (rest.result.skipped_docs, rest.result.upserted_docs) == (8, 2)
    assert content(service, TENANT)[0] == content(service, PLACE["tenant_id"])[0]


def test_what_changed_since_is_imported_and_a_description_alone_costs_no_chunk(
    service: Service, tmp_path: Path
) -> None:
    service.batch({"a": "Cats sleep.", "b": "Dogs bark."})
    imported(service, exported(service, tmp_path / "one.tar.zst"))
    service.upsert("a", "Cats hunt.")
    service.upsert("b", "Dogs bark.", metadata={"year": 2021})
    [outcome] = imported(service, exported(service, tmp_path / "two.tar.zst"))
    assert (outcome.result.upserted_docs, outcome.result.chunks_created) == (2, 1)
    place = {**PLACE, "tenant_id": TENANT}
    assert service.get("/v1/docs/b", place)["metadata"] == {"year": 2021}


def rewritten(file: Path, change: Change) -> Path:
    """The same archive after a change of its parts."""
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(file.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        parts = {info.name: (tar.extractfile(info) or io.BytesIO()).read() for info in tar}
    change(parts)
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    changed = file.with_name("changed.tar.zst")
    changed.write_bytes(zstandard.compress(target.getvalue()))
    return changed


def is_future(parts: dict[str, bytes]) -> None:
    parts["export.json"] = json.dumps({**json.loads(parts["export.json"]), "version": 2}).encode()


def is_changed(parts: dict[str, bytes]) -> None:
    parts["0001/documents-000001.jsonl"] = parts["0001/documents-000001.jsonl"].replace(b"Cats", b"Bats")


def is_other(parts: dict[str, bytes]) -> None:
    parts["0001/namespace.json"] = parts["0001/namespace.json"].replace(b'"seq": 1', b'"seq": 7')


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (is_future, Invalid, "format 2, and this version reads up to 1"),
        (is_changed, DamagedExport, "documents-000001.jsonl of the export differs from its manifest"),
        (is_other, DamagedExport, "namespace.json of the export differs"),
        (lambda parts: parts.pop("manifest.json"), DamagedExport, "no manifest at its end"),
        (lambda parts: parts.pop("0001/documents-000001.jsonl"), DamagedExport, "differs from its manifest"),
        (lambda parts: parts.update({"../../etc/passwd": b"x"}), Invalid, "which no export has"),
        (lambda parts: parts.update({"/tmp/x": b"x"}), Invalid, "which no export has"),
        (lambda parts: parts.update({"0001/files/000009": b"x"}), DamagedExport, "a part too many"),
        (lambda parts: parts.pop("export.json"), Invalid, "not the file of an export"),
    ],
)
def test_what_is_no_whole_export_is_refused_before_anything_is_written(
    shared_service: Service,
    tmp_path: Path,
    change: Change,
    error: type[Exception],
    words: str,
) -> None:
    shared_service.upsert("doc", "Cats sleep.")
    file = rewritten(exported(shared_service, tmp_path / "good.tar.zst"), change)
    with pytest.raises(error, match=words):
        imported(shared_service, file, ImportTarget("never"))
    with pytest.raises(NotFound):
        shared_service.runtime.accounts.teams.team("never")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_an_archive_with_anything_but_plain_files_is_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("export.json")
    info.type, info.linkname = kind, "/etc/passwd"
    file = tmp_path / "link.tar.zst"
    file.write_bytes(zstandard.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(2 * tarfile.BLOCKSIZE)))
    with pytest.raises(Invalid, match="which no export has"):
        verified(file)


def test_a_file_with_any_byte_flipped_or_cut_short_is_refused(shared_service: Service, tmp_path: Path) -> None:
    shared_service.upsert("doc", "Cats sleep.")
    good = exported(shared_service, tmp_path / "good.tar.zst").read_bytes()
    assert verified(tmp_path / "good.tar.zst").head["tenant_id"] == PLACE["tenant_id"]
    bad = tmp_path / "bad.tar.zst"
    harmless = 0
    for position in range(0, len(good), 7):
        bad.write_bytes(good[:position] + bytes([good[position] ^ 0x55]) + good[position + 1 :])
        try:
            archive = verified(bad)
        except ServiceError:
            continue
        harmless += 1
        assert archive == verified(tmp_path / "good.tar.zst")
    assert harmless <= 2  # unused bits in the frame's header
    for size in (0, 3, len(good) // 2, len(good) - 40):
        bad.write_bytes(good[:size])
        with pytest.raises(DamagedExport):
            verified(bad)
    with pytest.raises(Invalid, match="cannot be read"):
        verified(tmp_path / "missing")


def test_a_namespace_of_another_model_is_refused_unless_its_texts_shall_be_embedded_anew(
    service: Service, tmp_path: Path
) -> None:
    furnish(service)
    file = exported(service, tmp_path / "all.tar.zst")

    def has_other_model(parts: dict[str, bytes]) -> None:
        name = "0002/namespace.json"
        parts[name] = parts[name].replace(b'"document_prompt": null', b'"document_prompt": "p: "')
        manifest = json.loads(parts["manifest.json"])
        [part] = [each for each in manifest["parts"] if each["name"] == name]
        part |= {"size": len(parts[name]), "sha256": hashlib.sha256(parts[name]).hexdigest()}
        parts["manifest.json"] = json.dumps(manifest).encode()

    strange = rewritten(file, has_other_model)
    with pytest.raises(VersionMismatch, match="--reembed"):
        imported(service, strange)
    with pytest.raises(NotFound):
        service.runtime.accounts.teams.team(TENANT)
    [own, anew] = imported(service, strange, ImportTarget(TENANT, embeds_anew=True))
    assert (own.result.chunks_embedded, anew.result.chunks_embedded) == (0, anew.result.chunks_created)
    with pytest.raises(Invalid, match="--namespace renames only one"):
        imported(service, file, ImportTarget(TENANT, "one"))
    only = exported(service, tmp_path / "only.tar.zst", ExportOptions(PLACE["namespace"]))
    with pytest.raises(Conflict, match="external"):
        imported(service, only, ImportTarget(PLACE["tenant_id"], OWN["namespace"]))


def test_the_export_of_a_namespace_is_of_one_moment_though_others_write(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.batch({f"doc-{number}": f"Old text {number}." for number in range(5)})
    with service.runtime.database.read() as session:
        seq = session.scalars(select(Project.seq)).one()
    monkeypatch.setattr("services.operations.exporting.DOCS_PER_READ", 2)

    def write(done: int, *_: Any) -> None:
        """When the first documents have been read, and the last have not."""
        if done == 2:
            service.batch({f"doc-{number}": f"New text {number}." for number in range(4)})
            service.delete("doc-4")

    file = tmp_path / "moment.tar.zst"
    exporting = service.runtime.operations.exporting
    file.write_bytes(b"".join(exporting.export(PLACE["tenant_id"], ExportOptions(), write)))
    imported(service, file)
    assert verified(file).contents["0001/namespace.json"]["seq"] == seq
    for tenant_id, words, count in ((TENANT, "Old", 5), (PLACE["tenant_id"], "New", 4)):
        hits = service.post("/v1/search", {**PLACE, "tenant_id": tenant_id, "query": "text"})["chunks"]
        assert [chunk["text"].split()[0] for chunk in hits] == [words] * count


def test_an_admin_downloads_the_team_and_nobody_elses(service: Service, tmp_path: Path) -> None:
    service.batch({"a": "Cats sleep.", "b": "Dogs bark."})
    acme = PLACE["tenant_id"]
    keys = {scope: issue(service, acme, scope) for scope in (Scope.ADMIN, Scope.INGEST)}
    with service.restarted(auth_mode="keys") as guarded:

        def get(path: str, key: str = keys[Scope.ADMIN], **params: Any) -> Any:
            return guarded.client.get(path, params=params, headers={"Authorization": f"Bearer {key}"})

        answer = get(f"/v1/teams/{acme}/export", vectors=True)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zstd")
        file = tmp_path / "http.tar.zst"
        file.write_bytes(answer.content)
        assert [each.result.upserted_docs for each in imported(service, file)] == [2]
        assert get("/v1/teams/other/export").status_code == 404
        assert get(f"/v1/teams/{acme}/export", namespace="none").status_code == 404
        assert get(f"/v1/teams/{acme}/export", key=keys[Scope.INGEST]).status_code == 403


def test_the_commands_say_what_they_did_and_what_is_wrong(service: Service, tmp_path: Path) -> None:
    service.upsert("doc", "Cats sleep.")
    service.batch({"waits": "Dogs bark."}, async_mode=True)
    file = tmp_path / "acme.tar.zst"

    def run(*arguments: str) -> Result:
        return CliRunner(env=environment(service.settings)).invoke(manage.app, list(arguments))

    done = run("export", str(file), "--tenant", "acme", "--vectors")
    assert (done.exit_code, "1 documents, 1 chunks" in done.stdout) == (0, True), done.output
    assert "1 documents wait or have failed" in done.stderr
    done = run("import", str(file), "--tenant", "copy")
    assert "copy/project_001, as of seq 1: 1 documents imported, 0 unchanged; 0 chunks embedded" in done.stdout
    for arguments, words in {
        ("export", str(file), "--tenant", "acme"): "exists: name a file that does not",
        ("export", str(tmp_path / "new"), "--tenant", "none"): "There is no such team",
        ("export", str(tmp_path / "no/new"), "--tenant", "acme"): "cannot be written",
        ("import", str(tmp_path / "none")): "cannot be read: No such file",
        ("import", __file__): "is damaged, or not the file of an export",
    }.items():
        refused = run(*arguments)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert words in refused.stderr
    assert [each.name for each in tmp_path.iterdir() if "acme" in each.name or "new" in each.name] == ["acme.tar.zst"]
