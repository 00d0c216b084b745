"""Compares two versions of a namespace's index, as a job: the same queries to both, and how their answers differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from sqlalchemy import select

from database.engine import Database
from database.repeating import repeatable
from domain import Json, Mode
from errors import Conflict, Invalid, TooLarge
from job_lease import Lease
from job_queue import JobQueue
from models import LoggedQuery, Project, Team
from services.evaluation.judging import match_judgements, quoted
from services.evaluation.measuring import MAX_DEPTH, MEASURES, TEST, measure, p_value
from services.evaluation.ranking import MODES, Ranking, check_modes
from services.evaluation.version_report import VersionAnswers, report_of
from services.index import namespaces
from services.index.index_versions import IndexVersionService
from services.index.version_info import VersionInfo
from services.search.checking import QuestionLimits, check_length
from services.search.question import Question
from services.search.searching import SearchService
from text.hashing import UNSTORABLE
from text.judgements import Qrels, Queries

COMPARE = "compare_versions"
MAX_K = 100
QUERIES_PER_STEP = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRequest:
    """*against* None: the version that serves. Either *queries* or *log_sample*, a number of logged questions."""

    name: str
    against: str | None = None
    queries: Queries | None = None
    log_sample: int | None = None
    qrels: Qrels | None = None
    k: int = 10
    modes: Sequence[str] = MODES[:1]


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two versions of a namespace, to be asked in one mode, which is this *share* of a job."""

    place: tuple[str, str]
    names: tuple[str, str]
    mode: str
    k: int
    share: float
    by_document: bool

    def question(self, query: str, side: int) -> Question:
        text, mode = UNSTORABLE.sub(" ", query), cast(Mode, self.mode)
        name = self.names[side]
        return Question(*self.place, text, self.k, index_version=name, mode=mode, by_doc=self.by_document)


@dataclass(frozen=True)
class ComparingService:
    database: Database
    queue: JobQueue
    searching: SearchService
    versions: IndexVersionService
    limits: QuestionLimits

    @repeatable
    def accept(self, tenant_id: str, namespace: str, request: ComparisonRequest) -> str:
        """Queue the comparison. Returns the job's id. Raises Invalid, TooLarge, NotFound and Conflict."""
        self._check(request)
        against = request.against or _active(self.versions.list(tenant_id, namespace))
        if against == request.name:
            raise Invalid(f"{against!r} would be compared with itself: name another as against.", param="against")
        for name in (request.name, against):
            _require_complete(self.versions.get(tenant_id, namespace, name))
        with self.database.write() as session:
            project = namespaces.require(session, tenant_id, namespace)
            if request.log_sample and not session.scalar(_logged(project).limit(1)):
                raise Invalid(
                    "No question of this namespace is logged with its text: send queries, or let the service log them "
                    "(LOG_QUERY_TEXT).",
                    param="log_sample",
                )
            payload = {**asdict(request), "against": against}
            return self.queue.create_job(session, COMPARE, payload, project=project)

    def compare(self, lease: Lease) -> Json:
        """Ask both versions, in turns. Cannot be resumed: it takes as long as the searches, and writes at the end."""
        request, place, queries = self._begin(lease)
        infos = [self.versions.get(*place, name) for name in (request.name, str(request.against))]
        modes: dict[str, list[VersionAnswers]] = {}
        for number, mode in enumerate(request.modes):
            names, by_document = (infos[0].name, infos[1].name), infos[0].chunking != infos[1].chunking
            pair = _Pair(place, names, mode, request.k, share=1 / len(request.modes), by_document=by_document)
            modes[mode] = self._ask(lease, queries, pair, done=number * pair.share)
        judged = self._judge(request, place, infos) if request.qrels else {}
        report = report_of(queries, modes, infos=infos, k=request.k, judged=judged)
        _report(lease, 1.0)
        self.versions.record(*place, request.name, report["figures"])
        return report

    def _check(self, request: ComparisonRequest) -> None:
        if (request.queries is None) == (request.log_sample is None):
            raise Invalid(
                "There is nothing to compare by: send queries, or log_sample, the number of logged questions to ask.",
                param="queries",
            )
        if request.queries is not None and not request.queries:
            raise Invalid("There are no queries: give each an id and its text.", param="queries")
        for query_id, query in (request.queries or {}).items():
            if not query.strip():
                raise Invalid(f"Query {quoted(query_id)} is empty.", param="queries")
            check_length(f"Query {quoted(query_id)}", query, self.limits, param="queries", error=TooLarge)
        if request.qrels is not None:
            match_judgements(request.queries or {}, request.qrels)
        check_modes(request.modes)

    def _begin(self, lease: Lease) -> tuple[ComparisonRequest, tuple[str, str], Queries]:
        request = ComparisonRequest(**lease.claim.payload)
        key = lease.claim.team_id, lease.claim.project_id
        with self.database.read() as session:
            project = session.get_one(Project, key)
            place = session.get_one(Team, key[0]).name, project.name
            if request.queries is not None:
                return request, place, request.queries
            # In the order of their hashes: a sample that is the same when it is taken again.
            sample = session.execute(
                _logged(project).order_by(LoggedQuery.question_hash).distinct().limit(request.log_sample)
            )
            queries = {f"logged-{number}": text for number, (text, _) in enumerate(sample, 1)}
        if not queries:
            raise Invalid("No question of this namespace is logged with its text any more.", param="log_sample")
        return request, place, queries

    def _ask(self, lease: Lease, queries: Queries, pair: _Pair, *, done: float) -> list[VersionAnswers]:
        """The answers of both versions. Which of them is asked first changes from query to query.

        *done* is the share of the job that is done, and this its next.
        """
        both = [VersionAnswers(), VersionAnswers()]
        for side in (0, 1):  # loads the models and the indexes
            self.searching.search(pair.question(next(iter(queries.values())), side))
        for number, query in enumerate(queries.values()):
            for side in (0, 1) if number % 2 else (1, 0):
                both[side].add(self.searching.search, pair.question(query, side))
            lease.host_guests()
            if number % QUERIES_PER_STEP == 0:
                _report(lease, done + pair.share * number / len(queries))
        return both

    def _judge(self, request: ComparisonRequest, place: tuple[str, str], infos: Sequence[VersionInfo]) -> Json:
        """By mode and measure: the mean of each version, the difference, and its p-value."""
        judged = match_judgements(request.queries or {}, request.qrels or {})
        by_mode: Json = {}
        for mode in request.modes:
            values = []
            for info in infos:
                ranking = Ranking(self.searching, place, None, lambda _: None, index_version=info.name)
                run = ranking.documents(judged.queries, mode, count=MAX_DEPTH)
                values.append(measure(judged.qrels, run))
            by_mode[mode] = {name: _compared(values[0][name], values[1][name]) for name in MEASURES}
        return {"queries": len(judged.queries), "test": TEST, "notes": list(judged.notes()), "modes": by_mode}


def _compared(one: Sequence[float], other: Sequence[float]) -> Json:
    means = sum(one) / len(one), sum(other) / len(other)
    return {"version": means[0], "against": means[1], "difference": means[0] - means[1], "p_value": p_value(one, other)}


def _active(versions: Sequence[VersionInfo]) -> str:
    return next(each.name for each in versions if each.state == "active")


def _require_complete(version: VersionInfo) -> None:
    if version.state not in ("ready", "active", "retired"):
        raise Conflict(f"Version {version.name!r} is {version.state}: compare it once it is ready.", param="name")


def _report(lease: Lease, share: float) -> None:
    """Raises JobCancelled, and LostLease."""
    with lease.step(int(99 * share), {}):
        pass


def _logged(project: Project) -> Any:
    ids = [project.id, *(mirror.id for mirror in project.all_mirrors)]
    of_project = (LoggedQuery.team_id == project.team_id, LoggedQuery.project_id.in_(ids))
    return select(LoggedQuery.question, LoggedQuery.question_hash).where(*of_project, LoggedQuery.question.is_not(None))
