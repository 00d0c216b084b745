"""Evaluates the search of a namespace with queries whose relevant documents are known. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from database.batching import batched
from database.engine import Database
from errors import Invalid, TooLarge
from models import Doc, Project, Revision
from services.evaluation.judging import JudgedQueries, match_judgements, quoted
from services.evaluation.measuring import MAX_DEPTH, MEASURES, Values, measure, p_value
from services.evaluation.ranking import MODES, Ranking, check_modes
from services.index import namespaces
from services.ingest.rows import fields_of, select_docs
from services.search.checking import QuestionLimits, check_length, check_place
from services.search.searching import SearchService
from text.hashing import UNSTORABLE
from text.judgements import Qrels, Queries, Run
from text.restriction import Restriction

IDS_PER_QUERY = 500


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """*earlier* are previous rankings of the same queries, by name, to compare with. With a *restriction* of the
    caller, documents that it does not show are not there.
    """

    tenant_id: str
    namespace: str
    queries: Queries
    qrels: Qrels
    modes: Sequence[str] = MODES[:1]
    embedding_version: str | None = None
    earlier: Mapping[str, Run] = field(default_factory=dict)
    restriction: Restriction | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """The measured ranking of a search mode, or an earlier ranking. *mode* is one of MODES, or the ranking's name."""

    mode: str
    run: Run
    values: Values

    @property
    def figures(self) -> dict[str, float]:
        """The means over the queries."""
        return {name: float(np.mean(values)) for name, values in self.values.items()}


@dataclass(frozen=True, slots=True)
class Comparison:
    """*difference* is that of the means: positive if *mode* is better than *against*."""

    mode: str
    against: str
    measure: str
    difference: float
    p_value: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """The settings in the order of the request; *comparisons* compare each with the first.

    *unknown_docs* are judged but not in the namespace. *notes* are caveats for the reader.
    """

    judged: JudgedQueries
    settings: list[Setting]
    comparisons: list[Comparison]
    unknown_docs: int
    seq: int
    embedding_version: str
    is_exact: bool
    notes: list[str]


@dataclass(frozen=True)
class EvaluatingService:
    database: Database
    searching: SearchService
    limits: QuestionLimits

    def evaluate(self, request: EvaluationRequest, *, on_progress: Callable[[int], None] = lambda _: None) -> Report:
        """Raises Invalid, TooLarge or NotFound before the first search. *on_progress* gets the count of searches."""
        place = request.tenant_id, request.namespace
        check_place(place, request.embedding_version, self.limits)
        for query_id, query in request.queries.items():
            check_length(f"Query {quoted(query_id)}", query, self.limits, param="queries", error=TooLarge)
        check_modes(request.modes)
        judged = match_judgements(request.queries, request.qrels)
        with self.database.read() as session:
            project = namespaces.require(session, *place, request.restriction)
            unknown = _unknown(session, project, judged.doc_ids, request.restriction)
        ranking = Ranking(self.searching, place, request.embedding_version, on_progress, request.restriction)
        count = min(MAX_DEPTH, project.live_docs)
        runs = {mode: ranking.documents(judged.queries, mode, count=count) for mode in request.modes}
        settings = [Setting(name, run, measure(judged.qrels, run)) for name, run in {**request.earlier, **runs}.items()]
        seq, version = list(ranking.snapshots)[-1]
        return Report(
            judged=judged,
            settings=settings,
            comparisons=list(_comparisons(settings)),
            unknown_docs=len(unknown),
            seq=seq,
            embedding_version=version,
            is_exact=ranking.is_exact,
            notes=[*judged.notes(), *_notes(request, judged, unknown, ranking)],
        )


def _unknown(session: Session, project: Project, doc_ids: set[str], restriction: Restriction | None) -> list[str]:
    """Returns the documents that are not live, or not shown. Raises Invalid if none is."""
    storable = sorted(doc_id for doc_id in doc_ids if not UNSTORABLE.search(doc_id))
    existing: set[str] = set()
    for batch in batched(storable, IDS_PER_QUERY):
        existing.update(_existing(session, project, batch, restriction))
    unknown = sorted(doc_ids - existing)
    if not existing:
        raise Invalid(
            f"None of the {len(unknown)} judged documents is in this namespace, {quoted(unknown[0])} for one: "
            "qrels must name documents by their doc_id.",
            param="qrels",
        )
    return unknown


def _existing(
    session: Session, project: Project, doc_ids: Sequence[str], restriction: Restriction | None
) -> Iterable[str]:
    if restriction is None or restriction.filters is None:
        in_project = (Doc.team_id == project.team_id, Doc.project_id == project.id)
        return session.scalars(
            select(Doc.doc_id).where(*in_project, Doc.live_revision.is_not(None), Doc.doc_id.in_(doc_ids))
        )
    live = select_docs(project, Revision.revision == Doc.live_revision).where(Doc.doc_id.in_(doc_ids))
    return [doc.doc_id for doc, revision in session.execute(live) if restriction.shows(fields_of(doc, revision))]


def _comparisons(settings: Sequence[Setting]) -> Iterator[Comparison]:
    first, *others = settings
    for other in others:
        for name in MEASURES:
            difference = other.figures[name] - first.figures[name]
            yield Comparison(other.mode, first.mode, name, difference, p_value(other.values[name], first.values[name]))


def _notes(request: EvaluationRequest, judged: JudgedQueries, unknown: list[str], ranking: Ranking) -> Iterator[str]:
    if unknown:
        yield (
            f"{len(unknown)} of {len(judged.doc_ids)} judged documents are not in the namespace, {quoted(unknown[0])} "
            "for one: where they are relevant they count as not found."
        )
    for name, run in request.earlier.items():
        if missing := len(judged.queries.keys() - run.keys()):
            yield f"{quoted(name)} has nothing for {missing} of {len(judged.queries)} queries: they count as 0 there."
    if len(ranking.snapshots) > 1:
        yield "Documents were published meanwhile: not all queries searched the same snapshot of the namespace."
