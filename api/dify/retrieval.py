"""/v1/dify/retrieval: a namespace as one of Dify's external knowledge bases."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.access import needs
from api.dependencies import Caller, InRuntime
from api.dify.filters import filter_of
from api.dify.routes import DifyRoute
from api.doors import DoorBody, NamedTenant, cosine, place_of, question_with_cosines
from api.responses import EMBEDDING, raises
from api.strings import Key, QueryText, Word, as_json, at_most
from api.v1.search import answer_of
from domain import Scope
from errors import NotFound, Overloaded, VersionMismatch
from services.search.question import Passage
from text.filter_spellings import MAX_CONDITIONS

router = APIRouter(prefix="/v1/dify", tags=["dify"], route_class=DifyRoute)

MOST_NAMES = 16


class RetrievalSettingIn(DoorBody):
    top_k: Annotated[int, at_most("max_top_k"), Field(ge=1, description="Most records in the answer")]
    score_threshold: float | None = Field(None, ge=0, le=1, description="Least cosine similarity; 0: any")


class ConditionIn(DoorBody):
    """Of several names, one suffices."""

    name: Key | Annotated[list[Key], Field(fail_fast=True, min_length=1, max_length=MOST_NAMES)]
    comparison_operator: Word
    value: Any = None


class MetadataConditionIn(DoorBody):
    logical_operator: Literal["and", "or"] = "and"
    conditions: Annotated[list[ConditionIn], Field(fail_fast=True, max_length=MAX_CONDITIONS)] = Field(
        default_factory=list
    )


class RetrievalIn(DoorBody):
    knowledge_id: Key = Field(description='A namespace; without keys also "tenant/namespace"')
    query: QueryText
    retrieval_setting: RetrievalSettingIn
    metadata_condition: MetadataConditionIn | None = None

    @property
    def tenant_id(self) -> str:
        return place_of(None, self.knowledge_id)[0]


class RecordOut(BaseModel):
    """score is the cosine similarity to the query, from 0 to 1; metadata is never null."""

    content: str
    score: float
    title: str
    metadata: dict[str, Any]


class RetrievalOut(BaseModel):
    records: list[RecordOut]


@router.post("/retrieval")
@needs(Scope.SEARCH)
@raises(*EMBEDDING, VersionMismatch, NotFound, Overloaded)
async def retrieve(body: RetrievalIn, runtime: InRuntime, caller: Caller, tenant: NamedTenant) -> RetrievalOut:
    """The best chunks of a namespace for a query, as records."""
    limits, setting = runtime.search.limits, body.retrieval_setting
    question = question_with_cosines(
        place_of(tenant, body.knowledge_id),
        body.query,
        setting.top_k,
        filters=_filter(body.metadata_condition),
        limits=limits,
    )
    answer = await answer_of(question, runtime, caller)
    if answer.partition is None:
        raise NotFound(answer.hint or "There is no such namespace.", param="knowledge_id")
    least = setting.score_threshold or 0.0
    return RetrievalOut(records=[_record(each) for each in answer.passages if cosine(each) >= least])


def _filter(condition: MetadataConditionIn | None) -> Any:
    if condition is None:
        return None
    conditions = [as_json(each.model_dump()) for each in condition.conditions]
    return filter_of(conditions, is_any=condition.logical_operator == "or")


def _record(passage: Passage) -> RecordOut:
    place = {"doc_id": passage.doc_id, "chunk_id": passage.chunk_id, "page": passage.page_start}
    metadata = {**passage.metadata, **{name: value for name, value in place.items() if value is not None}}
    title = passage.title or str(passage.metadata.get("filename") or passage.doc_id)
    return RecordOut(content=passage.text, score=cosine(passage), title=title, metadata=metadata)
