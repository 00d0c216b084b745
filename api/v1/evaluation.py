"""/v1/eval: how well a namespace finds what it should."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.access import needs
from api.dependencies import InRuntime, RequestBody, TenantInBody
from api.responses import EMBEDDING, raises
from api.routing import StrictRoute
from api.strings import DocKey, Key, Name, QueryText, Word
from api.v1.search import IndexOut
from domain import Scope
from errors import NotFound, Overloaded, TooLarge, VersionMismatch
from services.evaluation.evaluating import EvaluationRequest, Report
from services.evaluation.measuring import TEST
from services.evaluation.ranking import MODES
from services.ingest.checking import check_name
from settings import MOST_EVAL_JUDGEMENTS, MOST_EVAL_QUERIES, Settings

router = APIRouter(prefix="/v1", tags=["search"], route_class=StrictRoute)


class EvalIn(RequestBody):
    tenant_id: TenantInBody
    namespace: Name
    queries: Annotated[
        dict[Key, QueryText],
        Field(
            fail_fast=True,
            max_length=MOST_EVAL_QUERIES,
            description="The text of each query, by an id of your choice",
            examples=[{"q1": "Who goes to sea?"}],
        ),
    ]
    qrels: Annotated[
        dict[Key, Annotated[dict[DocKey, int], Field(fail_fast=True, max_length=MOST_EVAL_JUDGEMENTS)]],
        Field(
            fail_fast=True,
            max_length=MOST_EVAL_QUERIES,
            description="By the query's id, how relevant which doc_ids are; 0 is not",
            examples=[{"q1": {"doc_123": 1}}],
        ),
    ]
    modes: Annotated[
        list[Word],
        Field(
            fail_fast=True,
            max_length=len(MODES),
            description="Measured one by one; the first is what the others are compared with",
        ),
    ] = [MODES[0]]
    embedding_version: Name | None = Field(None, description="Measure only this version, else 409")


class SettingOut(BaseModel):
    """figures are means over the queries, 0 to 1."""

    mode: str
    figures: dict[str, float]


class ComparisonOut(BaseModel):
    """difference: of the means, above 0 where mode is better. p_value is null where the test can say nothing."""

    mode: str
    against: str
    measure: str
    difference: float
    p_value: float | None


class LeftOutOut(BaseModel):
    """Queries that nothing could be measured by."""

    queries_without_qrels: int
    queries_without_relevant: int
    qrels_without_query: int


class EvalOut(BaseModel):
    """queries were measured; unknown_docs are judged and not in the namespace; notes say what to mind."""

    queries: int
    settings: list[SettingOut]
    comparisons: list[ComparisonOut]
    test: str
    left_out: LeftOutOut
    unknown_docs: int
    index: IndexOut
    notes: list[str]


@router.post("/eval")
@needs(Scope.SEARCH)
@raises(*EMBEDDING, VersionMismatch, NotFound, Overloaded)
def evaluate(body: EvalIn, runtime: InRuntime) -> EvalOut:
    """nDCG@10, Recall@10, Recall@100 and MRR@10 of a namespace. Takes as long as that many searches."""
    _check_size(body, runtime.settings)
    asked = EvaluationRequest(
        body.tenant_id, body.namespace, body.queries, body.qrels, body.modes, body.embedding_version
    )
    return _eval_out(runtime.evaluation.evaluate(asked))


def _check_size(body: EvalIn, settings: Settings) -> None:
    for field in ("tenant_id", "namespace"):
        check_name(field, getattr(body, field), settings.max_name_chars)
    if body.embedding_version is not None:
        check_name("embedding_version", body.embedding_version, settings.max_name_chars)
    longest = max(map(len, body.queries.values()), default=0)
    judgements = sum(map(len, body.qrels.values()))
    for field, size, limit, what in (
        ("queries", len(body.queries), settings.max_eval_queries, "queries: at most {} are taken (MAX_EVAL_QUERIES)"),
        ("queries", longest, settings.max_query_chars, "characters in a query: at most {} are read (MAX_QUERY_CHARS)"),
        ("qrels", judgements, settings.max_eval_judgements, "judgements: at most {} are taken (MAX_EVAL_JUDGEMENTS)"),
    ):
        if size > limit:
            raise TooLarge(f"{size} {what.format(limit)}.", param=field)


def _eval_out(report: Report) -> EvalOut:
    judged = report.judged
    return EvalOut(
        queries=len(judged.queries),
        settings=[SettingOut(mode=each.name, figures=each.figures) for each in report.settings],
        comparisons=[
            ComparisonOut(
                mode=each.name,
                against=each.against,
                measure=each.measure,
                difference=each.difference,
                p_value=each.p_value,
            )
            for each in report.comparisons
        ],
        test=TEST,
        left_out=LeftOutOut(
            queries_without_qrels=judged.queries_without_qrels,
            queries_without_relevant=judged.queries_without_relevant,
            qrels_without_query=judged.qrels_without_query,
        ),
        unknown_docs=report.unknown_docs,
        index=IndexOut(seq=report.seq, embedding_version=report.embedding_version, exact=report.is_exact),
        notes=report.notes,
    )
