"""Makes, lists, activates and deletes a namespace's index versions. Which of them serves is one commit of its row.

A namespace without rows of index_versions has one version, *initial*, which serves. Versions share the namespace's
chunks, and differ in their vectors; a version with another chunking has chunks of its own, in a mirror.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from database.engine import Database
from database.repeating import repeatable
from domain import ANYONE, EventType, Json, Partition, Principal
from engines.vectors.base import VectorStore
from errors import Conflict, Invalid, NotFound
from job_queue import JobQueue
from models import IndexVersion, Project, utc_now
from services.index import auditing, namespaces
from services.index.chunking import NewChunking, add_mirror, drop_mirror
from services.index.embedding import EmbeddingService
from services.index.gates import checked, failing
from services.index.lagging import BUILD
from services.index.namespaces import EXTERNAL
from services.index.publishing import Publisher
from services.index.version_info import VersionInfo, VersionState, info_of, state_of
from services.index.version_names import NewPrompts, VersionNames
from services.index.version_rows import AT_ONCE, IF_PASSES, NEVER, VersionRows, lock, mirror_of_row, read_rows, serve

MOST_VERSIONS = 5
"""Of a namespace. Each costs every write the embedding of its new chunks."""
LONGEST_NAME = 64
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """A request for a version. *embedding_version* None: the serving one; *prompts* None: as that version has them;
    *chunking* None: as the serving one has it.
    """

    name: str
    embedding_version: str | None = None
    prompts: NewPrompts | None = None
    chunking: NewChunking | None = None
    activate: str = NEVER
    gates: Json = field(default_factory=dict)


@dataclass(frozen=True)
class IndexVersionService:
    database: Database
    queue: JobQueue
    vectors: VectorStore
    embedding: EmbeddingService
    publisher: Publisher
    chunk_tokens: int

    @repeatable
    def create(self, tenant_id: str, namespace: str, new: NewVersion, *, by: Principal = ANYONE) -> str:
        """Queue the building of a version; of one that failed, its going on. Returns the job's id.

        Raises Forbidden where an embedding version would have to be registered and *by* is no operator.
        """
        _check(new)
        with self.database.read() as session:
            project = namespaces.require(session, tenant_id, namespace)
            _require_model(project.embedding_version)
            serving = read_rows(session, project).active
            mirror = mirror_of_row(project, serving)
        names = VersionNames(self.database, self.embedding)
        version = names.resolve(new.embedding_version, new.prompts, serving=serving.embedding_version, by=by)
        inherited = None if mirror is None else mirror.chunking
        chunking = inherited if new.chunking is None else new.chunking.checked(self.chunk_tokens)
        with self.database.write() as session:
            project = lock(session, self.publisher, tenant_id, namespace, locks_team=True)
            _require_model(project.embedding_version)
            rows = read_rows(session, project)
            row = rows.find(new.name)
            if row is None:
                row = _add(session, rows, new, version, chunking)
            elif not _can_go_on(session, rows, row, version, chunking):
                state = state_of(session, rows.project, row)
                raise Conflict(
                    f"There is a version {new.name!r} already, and it is {state}: choose another name, or delete it "
                    "first.",
                    param="name",
                )
            payload, key = {"name": row.name, "embedding_version": version}, f"{BUILD}:{row.name}"
            row.job_id = self.queue.create_job(session, BUILD, payload, project=project, dedupe_key=key)
            row.activate, row.gates, row.problem = new.activate, new.gates, None
            _audit(session, "created", tenant_id, namespace, row)
            return row.job_id

    @repeatable
    def list(self, tenant_id: str, namespace: str) -> list[VersionInfo]:
        """Returns the versions, oldest first."""
        with self.database.read() as session:
            project = namespaces.require(session, tenant_id, namespace)
            return [info_of(session, project, row) for row in read_rows(session, project).rows]

    @repeatable
    def get(self, tenant_id: str, namespace: str, name: str) -> VersionInfo:
        with self.database.read() as session:
            project = namespaces.require(session, tenant_id, namespace)
            return info_of(session, project, read_rows(session, project).require(name))

    @repeatable
    def activate(self, tenant_id: str, namespace: str, name: str, *, expected_active: str | None = None) -> VersionInfo:
        """Let the version serve, by one commit. Raises Conflict, which names every reason against it.

        Loads its model first: where this process cannot, no other could answer a search.
        """
        self._load(tenant_id, namespace, name)
        with self.database.write() as session:
            project = lock(session, self.publisher, tenant_id, namespace)
            rows = read_rows(session, project)
            row = rows.require(name)
            _require_active(rows, expected_active)
            if row is not rows.active:
                _require_complete(session, rows, row)
                if reasons := failing(row.gates, row.figures, against=rows.active.name):
                    raise Conflict(f"Version {name!r} does not pass: {' '.join(reasons)}", param="gates")
                serve(session, self.publisher, rows, row)
                _audit(session, "activated", tenant_id, namespace, row)
            return info_of(session, project, row)

    @repeatable
    def record(self, tenant_id: str, namespace: str, name: str, figures: Json) -> bool:
        """Keep the figures of a comparison, for the gates. Lets the version serve if it was made to do so once it
        passes them. Returns whether it serves.
        """
        with self.database.write() as session:
            project = lock(session, self.publisher, tenant_id, namespace)
            rows = read_rows(session, project)
            row = rows.require(name)
            row.figures = figures
            waits = row.activate == IF_PASSES and row.activated_at is None and row.is_complete
            if waits and not failing(row.gates, figures, against=rows.active.name):
                serve(session, self.publisher, rows, row)
            return row is rows.active

    @repeatable
    def rollback(self, tenant_id: str, namespace: str, *, expected_active: str | None = None) -> VersionInfo:
        """Let the version serve that served before: it has received every write since. Gates do not apply."""
        self._load(tenant_id, namespace, None)
        with self.database.write() as session:
            project = lock(session, self.publisher, tenant_id, namespace)
            rows = read_rows(session, project)
            _require_active(rows, expected_active)
            row = rows.previous
            if row is None:
                raise Conflict("No other version has served this namespace: there is nothing to roll back to.")
            _require_complete(session, rows, row)
            serve(session, self.publisher, rows, row, event=EventType.VERSION_ROLLED_BACK)
            _audit(session, "rolled_back_to", tenant_id, namespace, row)
            return info_of(session, project, row)

    @repeatable
    def shadow(self, tenant_id: str, namespace: str, name: str, *, share: float, until: datetime) -> VersionInfo:
        """Ask the version a share of the live searches, too, until then; share 0 ends it. One version at a time."""
        if share > 0 and until <= utc_now():
            raise Invalid("until is in the past: nothing would be asked.", param="until")
        with self.database.write() as session:
            project = lock(session, self.publisher, tenant_id, namespace)
            rows = read_rows(session, project)
            row = rows.require(name)
            if row is rows.active:
                raise Conflict(f"Version {name!r} serves: there is nothing to compare it with.", param="name")
            _require_complete(session, rows, row)
            end = until.timestamp()
            rows.end_shadow(row)
            if share > 0:
                by_document = row.chunks_of != rows.active.chunks_of
                project.shadow = {"name": name, "share": share, "until": end, "by_document": by_document}
                row.shadow = {"share": share, "until": end, "sums": {}}
            _audit(session, "shadowed" if share > 0 else "shadow_ended", tenant_id, namespace, row)
            return info_of(session, project, row)

    @repeatable
    def delete(self, tenant_id: str, namespace: str, name: str) -> None:
        """Stop following writes, and drop the index. The purge removes what only it had."""
        self.database.make_room_to_delete()
        with self.database.write() as session:
            project = lock(session, self.publisher, tenant_id, namespace)
            rows = read_rows(session, project)
            row = rows.require(name)
            if row is rows.active:
                raise Conflict(f"Version {name!r} is the active one: activate another first.", param="name")
            if row.chunks_of == project.id and row.embedding_version == project.embedding_version:
                _replace_own(rows, row)
            key = Partition(project.team_id, row.chunks_of, row.embedding_version)
            rows.stop_following(row)
            rows.end_shadow(row)
            if row.chunks_of != project.id:
                drop_mirror(session, project, row.chunks_of)
            self.vectors.forget(session, key)
            if row.job_id is not None:
                with suppress(NotFound):  # pruned
                    self.queue.cancel(session, row.job_id)
            session.delete(row)
            _audit(session, "deleted", tenant_id, namespace, row)
        self.vectors.sweep(key)

    def _load(self, tenant_id: str, namespace: str, name: str | None) -> None:
        """Load the model of the version, or of the one that served before, if it is complete.

        Raises ModelUnavailable and VersionUnavailable.
        """
        with self.database.read() as session:
            rows = read_rows(session, namespaces.require(session, tenant_id, namespace))
            row = rows.previous if name is None else rows.require(name)
            version = row.embedding_version if row is not None and row.is_complete and row is not rows.active else None
        if version is not None:
            self.embedding.embedder(version)


def _audit(session: Session, verb: str, tenant_id: str, namespace: str, row: IndexVersion) -> None:
    session.flush()
    details = {"name": row.name, "embedding_version": row.embedding_version}
    auditing.record(session, f"index_version.{verb}", tenant_id=tenant_id, object=namespace, **details)


def _check(new: NewVersion) -> None:
    if not _NAME.fullmatch(new.name):
        raise Invalid(
            f"name has 1 to {LONGEST_NAME} letters of ASCII, digits and . _ - and begins with a letter or a digit.",
            param="name",
        )
    checked(new.gates)
    if new.activate not in (NEVER, AT_ONCE, IF_PASSES):
        raise Invalid(f"activate is {NEVER}, {AT_ONCE} or {IF_PASSES}.", param="activate")
    if new.activate == IF_PASSES and not new.gates:
        raise Invalid(f"activate: {IF_PASSES} needs gates: without any, everything passes.", param="gates")
    if new.embedding_version is not None and new.embedding_version.startswith(EXTERNAL):
        raise Invalid(
            f"Names that begin with {EXTERNAL} stand for external vectors: no model can compute them.",
            param="embedding_version",
        )


def _require_model(serving: str) -> None:
    if serving.startswith(EXTERNAL):
        raise Conflict(
            "The vectors of this namespace are external: they come with its chunks, and no model of this service could "
            "compute those of a second version. Send the chunks with other vectors to another namespace instead."
        )


def _replace_own(rows: VersionRows, row: IndexVersion) -> None:
    """While a mirror serves, the namespace's own chunks are indexed under one version at least."""
    others = [each for each in rows.rows if each.chunks_of == row.chunks_of and each.is_complete and each is not row]
    if not others:
        raise Conflict(
            f"Version {row.name!r} is the only one that indexes the chunks into which the documents were cut when they "
            "were sent. They are kept with the documents, so it stays.",
            param="name",
        )
    rows.project.embedding_version = others[0].embedding_version


def _way_of(project: Project, row: IndexVersion) -> tuple[str, Json | None]:
    mirror = mirror_of_row(project, row)
    return row.embedding_version, None if mirror is None else mirror.chunking


def _add(session: Session, rows: VersionRows, new: NewVersion, version: str, chunking: Json | None) -> IndexVersion:
    same = next((each for each in rows.rows if _way_of(rows.project, each) == (version, chunking)), None)
    if same is not None:
        raise Conflict(
            f"Version {same.name!r} is this already, with embedding version {version!r}: send another "
            "embedding_version, other prompts, or another chunking.",
            param="embedding_version",
        )
    if len(rows.rows) >= MOST_VERSIONS:
        raise Conflict(f"A namespace has at most {MOST_VERSIONS} versions: delete one first.", param="name")
    rows.store_initial(session)
    project = rows.project
    key = {"team_id": project.team_id, "project_id": project.id, "name": new.name}
    chunks_of = project.id if chunking is None else add_mirror(session, project, version, chunking)
    row = IndexVersion(
        **key, chunks_of=chunks_of, embedding_version=version, activate=new.activate, is_complete=False, covered_seq=0
    )
    session.add(row)
    return row


def _can_go_on(session: Session, rows: VersionRows, row: IndexVersion, version: str, chunking: Json | None) -> bool:
    is_same = _way_of(rows.project, row) == (version, chunking)
    return is_same and state_of(session, rows.project, row) is VersionState.FAILED


def _require_active(rows: VersionRows, expected: str | None) -> None:
    if expected is not None and expected != rows.active.name:
        raise Conflict(
            f"The active version is {rows.active.name!r}, not {expected!r}: somebody else activated it meanwhile.",
            param="expected_active",
        )


def _require_complete(session: Session, rows: VersionRows, row: IndexVersion) -> None:
    if row.is_complete:
        return
    state, lag = state_of(session, rows.project, row), rows.project.seq - row.covered_seq
    problem = f" ({row.problem})" if row.problem else ""
    raise Conflict(
        f"Version {row.name!r} is {state} and lags by {lag} publications{problem}: see its job {row.job_id}.",
        param="name",
    )
