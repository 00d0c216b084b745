"""What an upsert does before its commit: check, compare, choose the embedding version, cut, embed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from sqlalchemy.orm import Session

from database.batching import batched
from database.engine import Database
from domain import Amounts, Mirror
from engines.embedders.base import Embedder
from errors import Invalid, NotFound, Overtaken, TooLarge
from models import Project, RevisionStatus
from services.index import namespaces
from services.index.embedding import EmbeddingService
from services.index.lagging import CANNOT_EMBED, Lagging
from services.index.quotas import QuotaService
from services.ingest.checking import checked
from services.ingest.drafts import DraftMaker, Limits, NewDoc
from services.ingest.mirrored import MirroredDocs
from services.ingest.own_chunks import require_same_dimension
from services.ingest.planning import Changes, WritePlan, compare
from services.ingest.recutting import Recutting
from services.ingest.rows import newest_revisions

TEXTS_PER_STEP = 256


@dataclass(frozen=True)
class Preparing:
    """Writes no documents; it does create new namespaces, and stores vectors."""

    database: Database
    embedding: EmbeddingService
    lagging: Lagging
    limits: Limits
    chunk_tokens: int
    draft: DraftMaker
    creates_namespaces: bool
    quotas: QuotaService
    recutting: Recutting

    def check(self, docs: Sequence[NewDoc]) -> list[NewDoc]:
        """Returns the documents as they will be stored. Of two with the same key, the later one wins."""
        if len(docs) > self.limits.batch_docs:
            raise TooLarge(
                f"The batch has {len(docs)} documents; at most {self.limits.batch_docs} are accepted at once "
                "(MAX_BATCH_DOCS). Send several batches.",
                param="docs",
            )
        return list({doc.key: checked(doc, self.limits) for doc in docs}.values())

    def compare(
        self, docs: list[NewDoc], *, present_statuses: Sequence[RevisionStatus]
    ) -> list[tuple[str, str, Project | None, Changes]]:
        """Compare with stored revisions, by namespace and always in the same order, lest two writers deadlock."""
        compared = []
        sorted_docs = sorted(docs, key=lambda doc: (doc.tenant_id, doc.namespace))
        for (tenant_id, namespace), group in groupby(sorted_docs, key=lambda doc: (doc.tenant_id, doc.namespace)):
            batch = list(group)
            with self.database.read() as session:
                project = self._project(session, tenant_id, namespace)
                existing = newest_revisions(session, project, [doc.doc_id for doc in batch]) if project else {}
            changes = compare(
                batch,
                existing,
                present_statuses=present_statuses,
                chunk_tokens=self.chunk_tokens,
                is_headed=project is not None and project.is_headed,
            )
            compared.append((tenant_id, namespace, project, changes))
        return compared

    def model(self, doc: NewDoc) -> Embedder:
        """Returns the model whose tokens would count, for a document without external vectors. Writes nothing."""
        with self.database.read() as session:
            project = self._project(session, doc.tenant_id, doc.namespace)
        version = self._version(doc.tenant_id, doc.namespace, project, doc)
        require_same_dimension(doc.display_name, None, self.embedding.external_dimension(version))
        return self.embedding.embedder(version)

    def plan(self, tenant_id: str, namespace: str, project: Project | None, changes: Changes) -> WritePlan:
        """Cuts the new documents with the namespace's own model; creates the namespace if there is none."""
        self.database.refuse_when_nearly_full()
        if project is not None and not changes.new:
            return WritePlan(project, changes, [], project.embedding_version)
        version = self._version(tenant_id, namespace, project, changes.new[0])
        expected = self.embedding.external_dimension(version)
        for doc in changes.new:
            require_same_dimension(doc.display_name, doc.dimension, expected)
        model = self.embedding.embedder(version) if expected is None else None
        drafts = [self.draft(doc, model) for doc in changes.new]
        if project is None:
            dimension = expected or self.embedding.embedder(version).dimension
            project = namespaces.create(
                self.database, tenant_id, namespace, embedding_version=version, dimension=dimension
            )
        external = {key: vector for draft in drafts for key, vector in draft.vectors.items()}
        return WritePlan(project, changes, drafts, version, external)

    def embed(self, plan: WritePlan) -> WritePlan:
        """Adds the missing vectors, of the project's other versions too.

        Raises QuotaExceeded or DailyQuotaExceeded before the model works for what would be refused.
        """
        unknown = {key: text for key, text in plan.texts.items() if key not in plan.vectors}
        vectors, embedded = self._missing_vectors(plan.project, plan.version, unknown, growth=plan.growth)
        others, computed = {}, embedded
        for version in plan.project.other_versions or () if plan.drafts else ():
            others[version], count = self._follow(plan, version)
            computed += count
        mirrored = [self._mirror(plan, mirror) for mirror in plan.project.following_mirrors]
        computed += sum(each.computed for each in mirrored)
        vectors = {**vectors, **plan.vectors}
        return replace(
            plan, vectors=vectors, embedded=embedded, other_vectors=others, mirrored=mirrored, computed=computed
        )

    def _missing_vectors(
        self, project: Project, version: str, texts: Mapping[bytes, str], *, growth: Amounts
    ) -> tuple[dict[bytes, bytes], int]:
        """Returns the vectors to store, and how many were computed: all but the last step's are stored already, even
        if the request dies.
        """
        with self.database.read() as session:
            missing = self.embedding.missing(session, project.team_id, version, texts)
            missing_keys = [key for key in texts if key in missing]
            if missing_keys:
                embedded = Amounts(embedded_chunks_per_day=len(missing_keys))
                self.quotas.foresee(session, project, growth + embedded)
        vectors: dict[bytes, bytes] = {}
        for step in batched(missing_keys, TEXTS_PER_STEP):
            if vectors:
                with self.database.write() as session:
                    self.embedding.store(session, project.team_id, version, vectors)
            vectors = self.embedding.embed(version, {key: texts[key] for key in step})
        return vectors, len(missing_keys)

    def _follow(self, plan: WritePlan, version: str) -> tuple[dict[bytes, bytes], int]:
        """As _missing_vectors(), for a version that does not serve. One that cannot be embedded lags from now on:
        raises Overtaken, so that the write is prepared anew without it.
        """
        try:
            return self._missing_vectors(plan.project, version, plan.texts, growth=plan.growth)
        except CANNOT_EMBED as error:
            self.lagging.stop_following(plan.project, version, str(error))
            raise Overtaken from error

    def _mirror(self, plan: WritePlan, mirror: Mirror) -> MirroredDocs:
        """Cuts the documents anew, and embeds them. As _follow(); one that serves has to be written."""
        try:
            cut = self.recutting.of_drafts(mirror, plan.changes.new, plan.drafts)
            if not (texts := cut.texts):
                return cut
            vectors, count = self._missing_vectors(plan.project, mirror.version, texts, growth=plan.growth)
        except (*CANNOT_EMBED, Invalid) as error:
            if mirror.id == plan.project.serving_mirror:
                raise
            self.lagging.stop_mirroring(plan.project, mirror.id, str(error))
            raise Overtaken from error
        return replace(cut, vectors=vectors, computed=count)

    def _project(self, session: Session, tenant_id: str, namespace: str) -> Project | None:
        """Returns the namespace, None if it can be created. Raises NotFound."""
        project = namespaces.find(session, tenant_id, namespace)
        if project is None and not self.creates_namespaces:
            raise NotFound(namespaces.missing(session, tenant_id, namespace), param="namespace")
        return project

    def _version(self, tenant_id: str, namespace: str, project: Project | None, doc: NewDoc) -> str:
        """Returns the version to use. The first document of a namespace decides whether its vectors are external."""
        if project is not None and not self._may_switch(project, doc):
            return project.embedding_version
        if doc.dimension is None:
            return self.embedding.version
        version = namespaces.external_version(tenant_id, namespace, doc.dimension)
        self.embedding.ensure_external(version, doc.dimension)
        return version

    def _may_switch(self, project: Project, doc: NewDoc) -> bool:
        """Returns whether the document needs another version and the namespace has no documents yet."""
        if self.embedding.external_dimension(project.embedding_version) == doc.dimension:
            return False
        with self.database.read() as session:
            return namespaces.is_unused(session, project)
