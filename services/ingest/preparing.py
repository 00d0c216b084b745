"""Everything an upsert does before its commit: check, compare, cut, decide the version, embed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from database.batching import batched
from database.engine import Database
from errors import NotFound, TooLarge
from models import Project, RevisionStatus
from services.index import namespaces
from services.index.embedding import EmbeddingService
from services.ingest.checking import checked
from services.ingest.drafts import DraftMaker, Limits, NewDoc
from services.ingest.own_chunks import require_fit
from services.ingest.planning import Changes, WritePlan, compare
from services.ingest.rows import newest

TEXTS_PER_STEP = 256


@dataclass(frozen=True)
class Preparing:
    """Reads and computes; of documents it writes nothing. Namespaces and vectors that are new are made on the way."""

    database: Database
    embedding: EmbeddingService
    limits: Limits
    chunk_tokens: int
    draft: DraftMaker
    makes_namespaces: bool

    def check(self, docs: Sequence[NewDoc]) -> list[NewDoc]:
        """The documents as they will be stored. Of two with the same key in one call, the later one counts."""
        if len(docs) > self.limits.batch_docs:
            raise TooLarge(
                f"The batch has {len(docs)} documents; at most {self.limits.batch_docs} are accepted at once "
                "(MAX_BATCH_DOCS). Send several batches.",
                param="docs",
            )
        return list({doc.key: checked(doc, self.limits) for doc in docs}.values())

    def compare(
        self, docs: list[NewDoc], *, counts_as_there: Sequence[RevisionStatus]
    ) -> list[tuple[str, str, Project | None, Changes]]:
        """What the documents change, namespace by namespace and always in their order, lest two writers deadlock."""
        compared = []
        in_order = sorted(docs, key=lambda doc: (doc.tenant_id, doc.namespace))
        for (tenant_id, namespace), group in groupby(in_order, key=lambda doc: (doc.tenant_id, doc.namespace)):
            sent = list(group)
            with self.database.read() as session:
                project = namespaces.find(session, tenant_id, namespace)
                if project is None and not self.makes_namespaces:
                    raise NotFound(namespaces.missing(namespace), param="namespace")
                there = newest(session, project, [doc.doc_id for doc in sent]) if project else {}
            changes = compare(sent, there, counts_as_there=counts_as_there, chunk_tokens=self.chunk_tokens)
            compared.append((tenant_id, namespace, project, changes))
        return compared

    def plan(self, tenant_id: str, namespace: str, project: Project | None, changes: Changes) -> WritePlan:
        """The new documents, cut by the namespace's own model; the namespace is made if there was none."""
        self.database.refuse_when_nearly_full()
        if project is not None and not changes.new:
            return WritePlan(project, changes, [], project.embedding_version)
        version = self._version(tenant_id, namespace, project, changes.new[0])
        expected = self.embedding.external_dimension(version)
        for doc in changes.new:
            require_fit(doc.called, doc.dimension, expected)
        model = self.embedding.embedder(version) if expected is None else None
        drafts = [self.draft(doc, model) for doc in changes.new]
        if project is None:
            dimension = expected or self.embedding.embedder(version).dimension
            project = namespaces.create(
                self.database, tenant_id, namespace, embedding_version=version, dimension=dimension
            )
        sent = {key: vector for each in drafts for key, vector in each.vectors.items()}
        return WritePlan(project, changes, drafts, version, sent)

    def embed(self, plan: WritePlan) -> WritePlan:
        """With the vectors that are not there yet. All but the last step's are kept even if the request dies."""
        team_id, version, texts = plan.project.team_id, plan.version, plan.texts
        with self.database.read() as session:
            missing = self.embedding.missing(session, team_id, version, texts)
        todo = [key for key in texts if key in missing]
        vectors: dict[bytes, bytes] = {}
        for step in batched(todo, TEXTS_PER_STEP):
            if vectors:
                with self.database.write() as session:
                    self.embedding.store(session, team_id, version, vectors)
            vectors = self.embedding.embed(version, {key: texts[key] for key in step})
        return replace(plan, vectors={**vectors, **plan.vectors}, embedded=len(todo))

    def _version(self, tenant_id: str, namespace: str, project: Project | None, doc: NewDoc) -> str:
        """The first document of a namespace decides where its vectors come from, whoever made the namespace."""
        if project is not None and not self._may_decide(project, doc):
            return project.embedding_version
        if doc.dimension is None:
            return self.embedding.version
        version = namespaces.external_version(tenant_id, namespace, doc.dimension)
        self.embedding.ensure_external(version, doc.dimension)
        return version

    def _may_decide(self, project: Project, doc: NewDoc) -> bool:
        """It does not fit, and there is nothing yet that it would have to fit to."""
        if self.embedding.external_dimension(project.embedding_version) == doc.dimension:
            return False
        with self.database.read() as session:
            return namespaces.is_unused(session, project)
