"""How well a namespace answers queries whose right documents are known. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from database.batching import batched
from database.engine import Database
from errors import Invalid, TooLarge
from models import Doc, Project
from services.evaluation.judging import Judged, judged, told
from services.evaluation.measuring import DEEPEST, MEASURES, Values, measured, p_value
from services.evaluation.ranking import MODES, Ranking
from services.index import namespaces
from services.search.checking import QuestionLimits, check_length, check_place
from services.search.searching import SearchService
from text.hashing import UNSTORABLE
from text.judgements import Qrels, Queries, Run

IDS_PER_QUERY = 500


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is asked. *earlier* are rankings for the same queries that were made before, by their names."""

    tenant_id: str
    namespace: str
    queries: Queries
    qrels: Qrels
    modes: Sequence[str] = MODES[:1]
    embedding_version: str | None = None
    earlier: Mapping[str, Run] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setting:
    """One way of searching, measured: *mode* is one of MODES, or names an earlier ranking."""

    mode: str
    run: Run
    values: Values

    @property
    def figures(self) -> dict[str, float]:
        """The means over the queries."""
        return {measure: float(np.mean(values)) for measure, values in self.values.items()}


@dataclass(frozen=True, slots=True)
class Comparison:
    """*difference* is that of the means: above 0 where *mode* is better than *against*."""

    mode: str
    against: str
    measure: str
    difference: float
    p_value: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """The settings in the order in which they were asked for, each but the first compared with the first.

    *unknown_docs* are judged and not in the namespace. *notes* say what to mind.
    """

    judged: Judged
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

    def evaluate(self, asked: Evaluation, *, show: Callable[[int], None] = lambda _: None) -> Report:
        """Raises Invalid, TooLarge or NotFound before the first search. *show* is told how many searches are done."""
        place = asked.tenant_id, asked.namespace
        check_place(place, asked.embedding_version, self.limits)
        for query_id, query in asked.queries.items():
            check_length(f"Query {told(query_id)}", query, self.limits, param="queries", error=TooLarge)
        _check_modes(asked.modes)
        known = judged(asked.queries, asked.qrels)
        with self.database.read() as session:
            project = namespaces.require(session, *place)
            unknown = _unknown(session, project, known.doc_ids)
        ranking = Ranking(self.searching, place, asked.embedding_version, show)
        count = min(DEEPEST, project.live_docs)
        runs = {mode: ranking.documents(known.queries, mode, count=count) for mode in asked.modes}
        settings = [Setting(name, run, measured(known.qrels, run)) for name, run in {**asked.earlier, **runs}.items()]
        seq, version = list(ranking.snapshots)[-1]
        return Report(
            judged=known,
            settings=settings,
            comparisons=list(_comparisons(settings)),
            unknown_docs=len(unknown),
            seq=seq,
            embedding_version=version,
            is_exact=ranking.is_exact,
            notes=[*known.notes(), *_notes(asked, known, unknown, ranking)],
        )


def _check_modes(modes: Sequence[str]) -> None:
    there = f"there are {', '.join(MODES)}"
    for mode in modes:
        if mode not in MODES:
            raise Invalid(f"There is no mode {told(mode)}; {there}.", param="modes")
    if not modes or len(set(modes)) < len(modes):
        raise Invalid(f"modes must name at least one mode, and none twice; {there}.", param="modes")


def _unknown(session: Session, project: Project, doc_ids: set[str]) -> list[str]:
    """Those that no search can find. Raises Invalid where that is all of them."""
    wanted = sorted(doc_id for doc_id in doc_ids if not UNSTORABLE.search(doc_id))
    live = select(Doc.doc_id).where(
        Doc.team_id == project.team_id, Doc.project_id == project.id, Doc.live_revision.is_not(None)
    )
    known: set[str] = set()
    for some in batched(wanted, IDS_PER_QUERY):
        known.update(session.scalars(live.where(Doc.doc_id.in_(some))))
    unknown = sorted(doc_ids - known)
    if not known:
        raise Invalid(
            f"None of the {len(unknown)} judged documents is in this namespace, {told(unknown[0])} for one: "
            "qrels must name documents by their doc_id.",
            param="qrels",
        )
    return unknown


def _comparisons(settings: Sequence[Setting]) -> Iterator[Comparison]:
    first, *others = settings
    for other in others:
        for measure in MEASURES:
            difference = other.figures[measure] - first.figures[measure]
            chance = p_value(other.values[measure], first.values[measure])
            yield Comparison(other.mode, first.mode, measure, difference, chance)


def _notes(asked: Evaluation, known: Judged, unknown: list[str], ranking: Ranking) -> Iterator[str]:
    if unknown:
        yield (
            f"{len(unknown)} of {len(known.doc_ids)} judged documents are not in the namespace, {told(unknown[0])} for "
            "one: where they are relevant they count as not found."
        )
    for name, run in asked.earlier.items():
        if missing := len(known.queries.keys() - run.keys()):
            yield f"{told(name)} has nothing for {missing} of the {len(known.queries)} queries: they count as 0 there."
    if len(ranking.snapshots) > 1:
        yield "Documents were published meanwhile: not all queries were asked of the same state of the namespace."
