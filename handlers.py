"""The handler of each type of job: one line, since the work is a service's."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from domain import Json
from job_lease import Lease
from runtime.parts import Runtime
from services.erasure.indexes import ERASE
from services.evaluation.version_comparing import COMPARE
from services.index.lagging import BUILD
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


def build_version(runtime: Runtime, lease: Lease) -> Json:
    return runtime.index.building.build(lease, runtime.ingest.mirrors.catch_up)


def compare_versions(runtime: Runtime, lease: Lease) -> Json:
    return runtime.evaluation.comparing.compare(lease)


def erase(runtime: Runtime, lease: Lease) -> Json:
    return runtime.erasure.erasing.erase(lease)


HANDLERS: Mapping[str, Handler] = {
    INGEST: ingest_docs,
    REBUILD: rebuild_index,
    DELETE: delete_docs,
    BUILD: build_version,
    COMPARE: compare_versions,
    ERASE: erase,
}
