"""/v1/index/versions: ways to index a namespace beside each other; which of them serves."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Response
from pydantic import AfterValidator, Field

from api.access import needs
from api.dependencies import Caller, IdInPath, InRuntime, Namespace, TenantId, unquoted_etag
from api.fields import RequestBody, UtcTime
from api.responses import EMBEDDING, raises, with_headers
from api.routing import WritingRoute
from api.strings import Line, Name, Word, without_nul
from api.v1.common import JobStartedOut, Out, PlaceIn
from api.v1.judged_queries import QrelsIn, QueriesIn, check_size
from domain import JobStatus, Json, Scope
from errors import Conflict, NotFound
from runtime.parts import Runtime
from services.evaluation.ranking import MODES
from services.evaluation.version_comparing import MAX_K, ComparisonRequest
from services.index.chunking import FEWEST_TOKENS, MOST_OVERLAP, MOST_TOKENS, NewChunking
from services.index.index_versions import LONGEST_NAME, NewVersion
from services.index.names import check_name, check_new_name
from services.index.version_info import VersionInfo
from services.index.version_names import LONGEST_PROMPT, NewPrompts
from settings import EVAL_QUERIES_CEILING

router = APIRouter(prefix="/v1/index/versions", tags=["index"], route_class=WritingRoute)

PromptText = Annotated[str, Field(max_length=LONGEST_PROMPT), AfterValidator(without_nul)]
Share = Annotated[float, Field(ge=0, le=1)]
ActiveTag = Annotated[
    str | None, Header(max_length=255, description="The name of the active version, as expected_active; 409 otherwise")
]


class PromptsIn(RequestBody):
    """What the model reads before a text. Null: the model's own prompt; an empty string: none."""

    query: PromptText | None = None
    document: PromptText | None = None


class VersionChunkingIn(RequestBody):
    """How all documents are cut, but those that came in chunks of their own."""

    chunk_strategy: Word = Field("default", description="One of GET /v1/chunking/strategies")
    chunk_overlap: Annotated[int, Field(ge=0, le=MOST_OVERLAP)] = Field(
        0, description="Characters that a chunk repeats of the previous one"
    )
    enrich_context: bool = Field(False, description="Embed title and section with each chunk")
    chunk_tokens: Annotated[int, Field(ge=FEWEST_TOKENS, le=MOST_TOKENS)] | None = Field(
        None, description="Tokens of a chunk, at most; null: CHUNK_TOKENS"
    )


class GatesIn(RequestBody):
    """What the last comparison with the active version must show."""

    min_overlap: Share | None = Field(None, description="Mean overlap@k, at least")
    max_ndcg_drop: Share | None = Field(None, description="Loss of mean nDCG@10, at most; needs judgements")
    max_p95_ratio: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        None, description="95th percentile of latency, as a multiple of the active version's, at most"
    )


class VersionIn(PlaceIn):
    name: Annotated[Line, Field(min_length=1, max_length=LONGEST_NAME, examples=["with-prompts"])]
    embedding_version: Name | None = Field(
        None, description="Null: the one that serves; a new one requires the scope operator"
    )
    prompts: PromptsIn | None = Field(None, description="Other prompts for the same model")
    chunking: VersionChunkingIn | None = Field(None, description="For all documents; null: the active version's")
    activate: Literal["never", "when_ready", "if_passes"] = Field(
        "never", description="if_passes: once a comparison passes the gates"
    )
    gates: GatesIn = Field(default_factory=GatesIn, description="Conditions of its activation")


class ActivationIn(PlaceIn):
    expected_active: Word | None = Field(None, description="The version that serves now; 409 if it is another")


class CompareIn(PlaceIn):
    against: Word | None = Field(None, description="The other version; null: the one that serves")
    queries: QueriesIn | None = Field(None, examples=[{"q1": "Who goes to sea?"}])
    log_sample: Annotated[int, Field(ge=1, le=EVAL_QUERIES_CEILING)] | None = Field(
        None, description="Instead of queries: how many logged questions to ask; needs LOG_QUERY_TEXT"
    )
    qrels: QrelsIn | None = None
    k: Annotated[int, Field(ge=1, le=MAX_K, description="How many chunks of each answer are compared")] = 10
    modes: Annotated[list[Word], Field(fail_fast=True, max_length=len(MODES))] = [MODES[0]]


class ShadowIn(PlaceIn):
    share: Annotated[float, Field(ge=0, le=1, description="Of the live searches; 0 ends it", examples=[0.1])]
    until: UtcTime = Field(description="When it ends by itself", examples=["2100-01-01T00:00:00Z"])


class VersionOut(Out):
    """vectors and bytes are those of its live chunks; while it is building, of those that have a vector already.

    lag is the number of publications that it lacks: 0 unless it is building or failed. figures are those of its last
    comparison, shadow those of its live searches. chunking is null if it indexes the chunks into which the documents
    were cut when they were sent.
    """

    name: str
    state: str
    embedding_version: str
    model: str
    query_prompt: str | None
    document_prompt: str | None
    dimension: int
    seq: int
    covered_seq: int
    lag: int
    vectors: int
    bytes: int
    chunks: int
    chunking: Json | None
    job_id: str | None
    progress: int | None
    seconds_left: int | None
    problem: str | None
    activate: str
    gates: Json
    figures: Json | None
    shadow: Json | None
    created_at: datetime
    ready_at: datetime | None
    activated_at: datetime | None
    retired_at: datetime | None


class VersionsOut(Out):
    active: str
    versions: list[VersionOut]


class VersionDeletedOut(Out):
    deleted: bool
    name: str


@router.post("", status_code=202, responses=with_headers("Location", status=202))
@needs(Scope.INGEST)
@raises(*EMBEDDING, NotFound, Conflict)
def create_version(body: VersionIn, runtime: InRuntime, caller: Caller, response: Response) -> JobStartedOut:
    """Build another version of a namespace's index beside the one that serves. Then it follows every write."""
    _check_place(body, runtime)
    if body.embedding_version is not None:
        check_new_name("embedding_version", body.embedding_version, runtime.settings.max_name_chars)
    new = NewVersion(
        name=body.name,
        embedding_version=body.embedding_version,
        prompts=None if body.prompts is None else NewPrompts(body.prompts.query, body.prompts.document),
        chunking=None if body.chunking is None else NewChunking(**body.chunking.model_dump()),
        activate=body.activate,
        gates=body.gates.model_dump(exclude_none=True),
    )
    job_id = runtime.index.index_versions.create(body.tenant_id, body.namespace, new, by=caller)
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    return JobStartedOut(job_id=job_id, status=JobStatus.PENDING)


@router.get("", responses=with_headers("ETag"))
@needs(Scope.SEARCH, Scope.INGEST)
@raises(NotFound)
def list_versions(tenant_id: TenantId, namespace: Namespace, runtime: InRuntime, response: Response) -> VersionsOut:
    """The versions of a namespace, oldest first. One that never had a second one has initial."""
    versions = runtime.index.index_versions.list(tenant_id, namespace)
    active = next(each.name for each in versions if each.state == "active")
    response.headers["ETag"] = f'"{active}"'
    return VersionsOut(active=active, versions=[_out(each) for each in versions])


@router.get("/{index_version}")
@needs(Scope.SEARCH, Scope.INGEST)
@raises(NotFound)
def get_version(index_version: IdInPath, tenant_id: TenantId, namespace: Namespace, runtime: InRuntime) -> VersionOut:
    return _out(runtime.index.index_versions.get(tenant_id, namespace, index_version))


@router.post("/rollback")
@needs(Scope.INGEST)
@raises(*EMBEDDING, NotFound, Conflict)
def roll_back(body: ActivationIn, runtime: InRuntime, if_match: ActiveTag = None) -> VersionOut:
    """Let the version serve that served before. It has received every write since."""
    _check_place(body, runtime)
    return _out(
        runtime.index.index_versions.rollback(body.tenant_id, body.namespace, expected_active=_expected(body, if_match))
    )


@router.post("/{index_version}/activate")
@needs(Scope.INGEST)
@raises(*EMBEDDING, NotFound, Conflict)
def activate_version(
    index_version: IdInPath, body: ActivationIn, runtime: InRuntime, if_match: ActiveTag = None
) -> VersionOut:
    """Let a version serve, by one commit. 409, with every reason, if it is not complete or misses one of its gates."""
    _check_place(body, runtime)
    expected = _expected(body, if_match)
    activate = runtime.index.index_versions.activate
    return _out(activate(body.tenant_id, body.namespace, index_version, expected_active=expected))


@router.post("/{index_version}/compare", status_code=202, responses=with_headers("Location", status=202))
@needs(Scope.INGEST)
@raises(NotFound, Conflict)
def compare_versions(index_version: IdInPath, body: CompareIn, runtime: InRuntime, response: Response) -> JobStartedOut:
    """Ask two versions the same queries, as a job: its result says how their answers differ."""
    _check_place(body, runtime)
    check_size(body.queries or {}, body.qrels or {}, runtime.settings)
    request = ComparisonRequest(name=index_version, **body.model_dump(exclude={"tenant_id", "namespace"}))
    job_id = runtime.evaluation.comparing.accept(body.tenant_id, body.namespace, request)
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    return JobStartedOut(job_id=job_id, status=JobStatus.PENDING)


@router.post("/{index_version}/shadow")
@needs(Scope.INGEST)
@raises(NotFound, Conflict)
def shadow_version(index_version: IdInPath, body: ShadowIn, runtime: InRuntime) -> VersionOut:
    """Ask a version a share of the live searches, too, off the path of their answers. It ends by itself."""
    _check_place(body, runtime)
    shadow = runtime.index.index_versions.shadow
    return _out(shadow(body.tenant_id, body.namespace, index_version, share=body.share, until=body.until))


@router.delete("/{index_version}")
@needs(Scope.INGEST)
@raises(NotFound, Conflict)
def delete_version(
    index_version: IdInPath, tenant_id: TenantId, namespace: Namespace, runtime: InRuntime
) -> VersionDeletedOut:
    """Drop a version that does not serve: writes no longer embed for it."""
    runtime.index.index_versions.delete(tenant_id, namespace, index_version)
    return VersionDeletedOut(deleted=True, name=index_version)


def _check_place(body: PlaceIn, runtime: Runtime) -> None:
    for field in ("tenant_id", "namespace"):
        check_name(field, getattr(body, field), runtime.settings.max_name_chars)


def _expected(body: ActivationIn, if_match: str | None) -> str | None:
    tag = unquoted_etag(if_match)
    return body.expected_active or (None if tag == "*" else tag)


def _out(version: VersionInfo) -> VersionOut:
    return VersionOut.model_validate(version)
