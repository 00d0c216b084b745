"""Imports the file of an export into a tenant, which may have another name, and the database another kind.

The whole file is verified first. Then its documents are upserted in steps, with the vectors that came with them, so
whatever was imported before, by a run that was killed or by another, is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from database.dialects import insert_or_ignore
from database.engine import Database
from engines.blobs.base import BlobStore
from errors import Conflict, DamagedExport, Invalid, Overtaken, VersionMismatch
from models import EmbeddingVersion, Project, RevisionStatus
from services.index import namespaces
from services.index.auditing import record
from services.index.embedding import EmbeddingService, ModelSpec
from services.index.names import check_new_name
from services.ingest.checking import checked
from services.ingest.documents import MAX_ATTEMPTS, DocumentService
from services.ingest.drafts import UpsertResult
from services.ingest.pending_blobs import PendingBlobs
from services.ingest.planning import Changes, WritePlan, compare
from services.ingest.rows import newest_revisions
from services.operations.archives import ArchiveEntry, read_archive, verified
from services.operations.exported_documents import DocumentReader, ExportedNamespace, ImportedDoc

DOCS_PER_STEP = 100
CHUNKS_PER_STEP = 250

Report = Callable[[int, int, str], None]
"""Called with the number of documents done, that of all of the namespace, and the namespace."""


@dataclass(frozen=True, slots=True)
class Export:
    """A file that is complete and undamaged."""

    path: Path
    tenant_id: str
    namespaces: dict[str, ExportedNamespace]


@dataclass(frozen=True, slots=True)
class ImportTarget:
    """Where to; None: under the names in the file. *embeds_anew*: with the target's model, where it is another one."""

    tenant_id: str | None = None
    namespace: str | None = None
    embeds_anew: bool = False


@dataclass(frozen=True, slots=True)
class ImportedNamespace:
    tenant_id: str
    namespace: str
    seq: int
    result: UpsertResult


@dataclass
class _Place:
    """A namespace while it is imported."""

    tenant_id: str
    source: ExportedNamespace
    reader: DocumentReader
    version: str
    result: UpsertResult = field(default_factory=UpsertResult)
    waiting: list[ImportedDoc] = field(default_factory=list)
    needed: dict[str, ImportedDoc] = field(default_factory=dict)
    blobs: dict[str, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return self.reader.namespace


@dataclass(frozen=True)
class ImportService:
    database: Database
    embedding: EmbeddingService
    documents: DocumentService
    blobs: BlobStore
    pending_blobs: PendingBlobs

    def open(self, path: Path) -> Export:
        """Verify the whole file. Raises DamagedExport and Invalid."""
        archive = verified(path)
        parsed = {
            name.partition("/")[0]: ExportedNamespace.parse(content)
            for name, content in archive.contents.items()
            if "/" in name
        }
        try:
            return Export(path, archive.head["tenant_id"], parsed)
        except KeyError as error:
            raise DamagedExport(f"The export does not say its {error}: it is damaged.") from error

    def run(self, export: Export, target: ImportTarget, report: Report) -> list[ImportedNamespace]:
        """Raises Conflict before anything is written if a namespace does not fit; Invalid for a document that does
        not, whose predecessors are then imported.
        """
        places = self._places(export, target)
        place: _Place | None = None
        try:
            for entry in read_archive(export.path):
                folder, _, name = entry.name.partition("/")
                if place is not None and not name.startswith("files/"):
                    self._store_waiting(place, report)
                if name.startswith("documents-"):
                    place = places[folder]
                    self._read_documents(place, entry)
                elif name.startswith("files/") and place is not None:
                    self._receive(place, entry)
        finally:
            for each in places.values():
                self._close(each)
        return [
            ImportedNamespace(each.tenant_id, each.namespace, each.source.seq, each.result) for each in places.values()
        ]

    def _close(self, place: _Place) -> None:
        """What was stored stays, so it is audited, whether the import succeeded or not."""
        self.pending_blobs.delete_unattached(list(place.blobs.values()))
        if documents := place.result.upserted_docs:
            names = {"tenant_id": place.tenant_id, "object": place.namespace}
            with self.database.write() as session:
                record(session, "namespace.imported", **names, documents=documents)

    def _places(self, export: Export, target: ImportTarget) -> dict[str, _Place]:
        """Fit all namespaces first, and then create those that do not exist."""
        if target.namespace is not None and len(export.namespaces) != 1:
            names = ", ".join(repr(each.namespace) for each in export.namespaces.values())
            raise Invalid(f"The file has {len(export.namespaces)} namespaces ({names}): --namespace renames only one.")
        places = {folder: self._place(each, export, target) for folder, each in export.namespaces.items()}
        for place in places.values():
            self._create(place)
        return places

    def _place(self, source: ExportedNamespace, export: Export, target: ImportTarget) -> _Place:
        tenant_id, namespace = target.tenant_id or export.tenant_id, target.namespace or source.namespace
        for name, value in (("tenant_id", tenant_id), ("namespace", namespace)):
            check_new_name(name, value, self.documents.limits.name_chars)
        version = self._version(source, tenant_id, namespace, embeds_anew=target.embeds_anew)
        is_same = version is not None
        is_external = source.is_external and is_same
        reader = DocumentReader(tenant_id, namespace, is_external, source.model.dimension if is_same else None)
        return _Place(tenant_id, source, reader, version or self._own_version(tenant_id, namespace))

    def _version(self, source: ExportedNamespace, tenant_id: str, namespace: str, *, embeds_anew: bool) -> str | None:
        """The version under which the file's vectors are valid here; None: its texts are embedded anew."""
        name = source.embedding_version
        if source.is_external:
            name = namespaces.external_version(tenant_id, namespace, source.model.dimension)
        with self.database.read() as session:
            project = namespaces.find(session, tenant_id, namespace)
            is_free = project is None or namespaces.is_unused(session, project)
            current = name if is_free or project is None else project.embedding_version
            row = session.get(EmbeddingVersion, current)
        fits = (row is None and is_free) or (row is not None and _stands_for(row, source))
        if fits:
            return current
        if row is not None and row.is_external and not is_free:
            raise Conflict(f"The vectors of {tenant_id}/{namespace} are external: import into another namespace.")
        if not embeds_anew:
            raise VersionMismatch(_differs(source, current, row, f"{tenant_id}/{namespace}"))
        return None

    def _own_version(self, tenant_id: str, namespace: str) -> str:
        with self.database.read() as session:
            project = namespaces.find(session, tenant_id, namespace)
            if project is not None and not namespaces.is_unused(session, project):
                return project.embedding_version
        return self.embedding.version

    def _create(self, place: _Place) -> None:
        """The namespace, and its version, if they do not exist."""
        source, dimension = place.source, place.reader.dimension
        if dimension is None:
            dimension = self.embedding.embedder(place.version).dimension
        elif place.reader.is_external:
            self.embedding.ensure_external(place.version, dimension)
        else:
            model = source.model
            values = {"name": place.version, **{name: getattr(model, name) for name in _SPEC}}
            with self.database.write() as session:
                session.execute(insert_or_ignore(session, EmbeddingVersion).values(**values))
        namespaces.create(
            self.database, place.tenant_id, place.namespace, embedding_version=place.version, dimension=dimension
        )

    def _read_documents(self, place: _Place, entry: ArchiveEntry) -> None:
        place.waiting = [
            self._checked(place.reader.read(line, place=f"Line {number} of {entry.name}"))
            for number, line in enumerate(entry.lines(), 1)
        ]
        new = {doc.key for doc in self._compare(place, place.waiting)[1].new}
        place.needed = {each.part: each for each in place.waiting if each.part is not None and each.doc.key in new}

    def _checked(self, imported: ImportedDoc) -> ImportedDoc:
        return imported.as_new(checked(imported.doc, self.documents.limits))

    def _receive(self, place: _Place, entry: ArchiveEntry) -> None:
        """Store the raw file, if its document is new. It belongs to nothing until the document is stored."""
        if entry.name not in place.needed:
            return
        blob = place.blobs[entry.name] = self.pending_blobs.reserve()
        with self.blobs.open_writer(blob) as writer:
            for piece in entry.pieces:
                writer.write(piece)

    def _store_waiting(self, place: _Place, report: Report) -> None:
        docs, place.waiting = [self._with_blob(place, each) for each in place.waiting], []
        for step in _steps(docs):
            self.database.refuse_when_nearly_full()
            place.result += self._store(place, step)
            report(place.result.accepted, place.source.documents, place.namespace)
        self.pending_blobs.delete_unattached(list(place.blobs.values()))
        place.blobs.clear()

    def _with_blob(self, place: _Place, imported: ImportedDoc) -> ImportedDoc:
        file = imported.doc.file
        if file is None or imported.part is None:
            return imported
        if imported.part in place.needed and imported.part not in place.blobs:
            raise DamagedExport(f"The raw file of {imported.doc.doc_id!r} is not in the export.")
        return imported.as_new(replace(imported.doc, file=replace(file, blob=place.blobs.get(imported.part, ""))))

    def _store(self, place: _Place, step: Sequence[ImportedDoc]) -> UpsertResult:
        for _ in range(MAX_ATTEMPTS):
            with suppress(Overtaken):
                project, changes = self._compare(place, step)
                done = UpsertResult(accepted=len(step), skipped_docs=changes.skipped)
                if not changes.new and not changes.redescribed:
                    return done
                plan = self.documents.preparing.embed(_plan(place, step, project, changes))
                return done + self.documents.publish([plan])
        raise Conflict("These documents are being changed by others without a pause: import again.")

    def _compare(self, place: _Place, step: Sequence[ImportedDoc]) -> tuple[Project, Changes]:
        with self.database.read() as session:
            project = namespaces.require(session, place.tenant_id, place.namespace)
            existing = newest_revisions(session, project, [each.doc.doc_id for each in step])
        docs = [each.doc for each in step]
        live = [RevisionStatus.LIVE]
        return project, compare(docs, existing, present_statuses=live, chunk_tokens=0, is_headed=project.is_headed)


_SPEC = ("model", "is_remote", "query_prompt", "document_prompt", "dimension")


def _plan(place: _Place, step: Sequence[ImportedDoc], project: Project, changes: Changes) -> WritePlan:
    by_key = {each.doc.key: each for each in step}
    new = [by_key[doc.key].as_new(doc) for doc in changes.new]
    vectors = {key: vector for each in new for key, vector in each.vectors.items()}
    return WritePlan(project, changes, [each.draft for each in new], place.version, vectors)


def _steps(docs: Sequence[ImportedDoc]) -> Iterator[list[ImportedDoc]]:
    """Each is one transaction; a large document is one by itself."""
    step: list[ImportedDoc] = []
    chunks = 0
    for each in docs:
        size = len(each.draft.spans)
        if step and (len(step) == DOCS_PER_STEP or chunks + size > CHUNKS_PER_STEP):
            yield step
            step, chunks = [], 0
        step.append(each)
        chunks += size
    if step:
        yield step


def _stands_for(row: EmbeddingVersion, source: ExportedNamespace) -> bool:
    return row.is_external == source.is_external and ModelSpec.of_row(row) == source.model


def _differs(source: ExportedNamespace, current: str, row: EmbeddingVersion | None, place: str) -> str:
    here = "external vectors" if row is None or row.is_external else f"model {row.model!r} ({row.dimension} dimensions)"
    theirs = "external vectors" if source.is_external else f"model {source.model.model!r} ({source.model.dimension})"
    return (
        f"For {place} the embedding version {current!r} stands for {here}, and in the export "
        f"{source.embedding_version!r} for {theirs}: import into a new namespace, or have the texts embedded by the "
        "model here (--reembed)."
    )
