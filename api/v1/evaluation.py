"""/v1/eval: measure the search quality of a namespace."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from api.access import needs
from api.dependencies import CallersRestriction, InRuntime
from api.responses import EMBEDDING, raises
from api.routing import StrictRoute
from api.strings import Name, Word
from api.v1.common import Out, PlaceIn, SearchedIndexOut
from api.v1.judged_queries import QrelsIn, QueriesIn, check_size
from domain import Scope
from errors import NotFound, Overloaded, VersionMismatch
from services.evaluation.evaluating import EvaluationRequest, Report
from services.evaluation.measuring import TEST
from services.evaluation.ranking import MODES

router = APIRouter(prefix="/v1", tags=["search"], route_class=StrictRoute)


class EvalIn(PlaceIn):
    queries: QueriesIn
    qrels: QrelsIn
    modes: Annotated[
        list[Word],
        Field(
            fail_fast=True,
            max_length=len(MODES),
            description="Measured one by one; the others are compared with the first",
        ),
    ] = [MODES[0]]
    embedding_version: Name | None = Field(None, description="Measure only this version, else 409")


class SettingOut(Out):
    """figures are means over the queries, 0 to 1."""

    mode: str
    figures: dict[str, float]


class ComparisonOut(Out):
    """difference is that of the means, above 0 if mode is better. p_value is null if the test does not apply."""

    mode: str
    against: str
    measure: str
    difference: float
    p_value: float | None


class LeftOutOut(Out):
    """Queries that could not be measured."""

    queries_without_qrels: int
    queries_without_relevant: int
    qrels_without_query: int


class EvalOut(Out):
    """queries: how many were measured. unknown_docs are judged but not in the namespace. notes are caveats.

    index is null for keys with filters.
    """

    queries: int
    settings: list[SettingOut]
    comparisons: list[ComparisonOut]
    test: str
    left_out: LeftOutOut
    unknown_docs: int
    index: SearchedIndexOut | None
    notes: list[str]


@router.post("/eval")
@needs(Scope.SEARCH)
@raises(*EMBEDDING, VersionMismatch, NotFound, Overloaded)
def evaluate(body: EvalIn, runtime: InRuntime, restriction: CallersRestriction) -> EvalOut:
    """nDCG@10, Recall@10, Recall@100 and MRR@10 of a namespace. Takes as long as that many searches."""
    check_size(body.queries, body.qrels, runtime.settings)
    evaluation = EvaluationRequest(
        body.tenant_id,
        body.namespace,
        body.queries,
        body.qrels,
        body.modes,
        body.embedding_version,
        restriction=restriction,
    )
    report = runtime.evaluation.evaluating.evaluate(evaluation)
    return _eval_out(report, sees_all=restriction is None or restriction.filters is None)


def _eval_out(report: Report, *, sees_all: bool) -> EvalOut:
    return EvalOut.model_validate(
        {
            "queries": len(report.judged.queries),
            "settings": report.settings,
            "comparisons": report.comparisons,
            "test": TEST,
            "left_out": report.judged,
            "unknown_docs": report.unknown_docs,
            "index": report if sees_all else None,
            "notes": report.notes,
        }
    )
