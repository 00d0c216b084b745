"""The handler of each type of job: one line, since the work is a service's."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from domain import Json
from job_lease import Lease
from runtime.parts import Runtime
from services.erasure.indexes import ERASE
from services.index.publishing import REBUILD
from services.ingest.deleting import DELETE
from services.ingest.documents import INGEST

Handler = Callable[[Runtime, Lease], Json]


def ingest_docs(runtime: Runtime, lease: Lease) -> Json:
    return runtime.ingest.ingesting.ingest(lease)


def rebuild_index(runtime: Runtime, lease: Lease) -> Json:
    return runtime.index.indexing.rebuild(lease)


def delete_docs(runtime: Runtime, lease: Lease) -> Json:
    return runtime.ingest.deleting.delete(lease)


def erase(runtime: Runtime, lease: Lease) -> Json:
    return runtime.erasure.erasing.erase(lease)


HANDLERS: Mapping[str, Handler] = {
    INGEST: ingest_docs,
    REBUILD: rebuild_index,
    DELETE: delete_docs,
    ERASE: erase,
}
