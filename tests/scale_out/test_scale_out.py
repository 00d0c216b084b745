"""Beyond one machine: several API processes and workers on one Postgres, which goes away and comes back."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
from sqlalchemy import func, select, text

from database.engine import Database
from domain import JobStatus
from models import Chunk, Doc, DocStatus, Embedding, Job, Revision, WorkerRow
from runtime.opening import open_runtime
from settings import Settings
from tests.support.examples import is_thorough
from tests.support.pooler import CONNECTIONS, pooled
from tests.support.postgres import PostgresServer, own_server
from tests.support.processes import Api, Process, api_process, until, worker_process
from tests.support.prose import prose
from tests.support.service import PLACE, settings_in

DOCS, DOCS_PER_BATCH = 2000 if is_thorough() else 1000, 100
DRAIN_SECONDS = 180
SUBJECTS = ("cat", "ship", "lawyer", "river", "engine", "nurse", "garden", "orchestra")


def sentence(number: int) -> str:
    return f"The {SUBJECTS[number % len(SUBJECTS)]} of house number {number} was seen at noon."


def test_two_apis_and_four_workers_publish_every_document_once_though_two_workers_are_killed(
    postgres: PostgresServer, tmp_path: Path, remote: dict[str, Any]
) -> None:
    with postgres.database() as url, ExitStack() as processes:
        settings = settings_in(tmp_path, database_url=url, job_lease_seconds=2.0, worker_nice=0, **remote)
        apis = [processes.enter_context(api_process(settings)) for _ in range(2)]
        workers = [processes.enter_context(worker_process(settings)) for _ in range(4)]
        with ThreadPoolExecutor(2) as clients, Database.open(url) as database:
            sent = clients.map(send_batches, apis, (range(0, DOCS, 2 * DOCS_PER_BATCH), range(100, DOCS, 200)))
            orphans = [kill_at_work(database, worker) for worker in workers[:2]]
            job_ids = [job_id for some in sent for job_id in some]
            until(lambda: not unfinished(database), DRAIN_SECONDS)
            assert all(worker.poll() is None for worker in workers[2:])
            require_each_published_once(database, {f"doc-{n:04d}": sentence(n) for n in range(DOCS)})
            require_jobs_done(apis[1], job_ids, moved=orphans)
            assert {each["doc_id"] for each in apis[0].search(sentence(7), top_k=1)} == {"doc-0007"}
        require_clean(settings)


def send_batches(api: Api, starts: range) -> list[str]:
    return [api.batch({f"doc-{n:04d}": sentence(n) for n in range(first, first + DOCS_PER_BATCH)}) for first in starts]


def kill_at_work(database: Database, worker: Process) -> str:
    """kill -9 while it holds a job, which stands still for as long as that takes to see. Returns the job."""
    held: list[str] = []

    def is_caught() -> bool:
        if job_of(database, worker) is None:
            return False
        worker.send_signal(signal.SIGSTOP)
        held[:] = filter(None, [job_of(database, worker)])
        if not held:
            worker.send_signal(signal.SIGCONT)
        return bool(held)

    until(is_caught, pause=0.01)
    worker.kill()
    worker.wait()
    return held[0]


def job_of(database: Database, worker: Process) -> str | None:
    with database.read() as session:
        is_its_own = Job.worker.like(f"%-{worker.pid}-%")
        return session.scalar(select(Job.job_id).where(Job.status == JobStatus.RUNNING, is_its_own))


def unfinished(database: Database) -> int:
    with database.read() as session:
        query = select(func.count()).where(Job.status.in_((JobStatus.PENDING, JobStatus.RUNNING)))
        return session.scalar(query) or 0


def require_each_published_once(database: Database, docs: dict[str, str]) -> None:
    with database.read() as session:
        chunks = session.execute(select(Chunk.doc_id, Chunk.text, Chunk.live_seq, Chunk.dead_seq)).all()
        assert sorted((chunk.doc_id, chunk.text) for chunk in chunks) == sorted(docs.items())
        assert all(chunk.live_seq is not None and chunk.dead_seq is None for chunk in chunks)
        stands = session.execute(select(Doc.doc_id, Doc.revision, Doc.live_revision, Doc.status)).all()
        assert sorted(map(tuple, stands)) == [(doc_id, 1, 1, DocStatus.READY) for doc_id in sorted(docs)]
        assert session.scalar(select(func.count()).select_from(Revision)) == len(docs)
        assert session.scalar(select(func.count()).select_from(Embedding)) == len(set(docs.values()))


def require_jobs_done(api: Api, job_ids: list[str], *, moved: list[str]) -> None:
    jobs = [api.job(job_id) for job_id in job_ids]
    assert {job["status"] for job in jobs} == {"completed"}
    assert {job["job_id"] for job in jobs if job["attempts"] > 1} >= set(moved)
    results = [job["result"] for job in jobs]
    done = {key: sum(result[key] for result in results) for key in ("docs", "published", "superseded", "failed")}
    assert done == {"docs": DOCS, "published": DOCS, "superseded": 0, "failed": 0}


def require_clean(settings: Settings) -> None:
    with open_runtime(settings) as runtime:
        assert [problem for verdict in runtime.index.verifying.verify() for problem in verdict.problems] == []
        assert runtime.queue.stats()["running"] == 0


class Client(Thread):
    """Sends one document after the other, each until it is accepted; keeps every answer's status."""

    def __init__(self, base_url: str, name: str, *, async_mode: bool) -> None:
        super().__init__(name=name, daemon=True)
        self.base_url, self.async_mode = base_url, async_mode
        self.has_enough = Event()
        self.accepted: dict[str, str] = {}
        self.job_ids: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.oddities: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self.base_url, timeout=60) as client:
            while not self.has_enough.is_set():
                number = len(self.accepted)
                doc_id, text = f"{self.name}-{number:04d}", f"{self.name} tells: {prose(number, 6)}"
                body = {"docs": [{**PLACE, "doc_id": doc_id, "text": text}], "async_mode": self.async_mode}
                answer = self._heard(client.post("/v1/docs/upsert/batch", json=body))
                if answer is not None:
                    self.accepted[doc_id] = text
                    self.job_ids |= {answer["job_id"]} - {None}
                self._heard(client.post("/v1/search", json={**PLACE, "query": text, "top_k": 3}))

    def _heard(self, answer: httpx.Response) -> Any:
        self.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            return answer.json()
        if answer.headers.get("retry-after") != "5" or answer.json()["error"]["code"] != "database_unavailable":
            self.oddities.append(answer.text)
        self.has_enough.wait(0.1)
        return None


def test_a_postgres_that_is_stopped_and_started_under_load_costs_nobody_anything_but_time(
    tmp_path: Path, remote: dict[str, Any]
) -> None:
    with own_server() as server, server.database() as url, ExitStack() as processes:
        settings = settings_in(tmp_path, database_url=url, job_lease_seconds=2.0, worker_nice=0, **remote)
        apis = [processes.enter_context(api_process(settings)) for _ in range(2)]
        workers = [processes.enter_context(worker_process(settings)) for _ in range(2)]
        clients = [
            Client(str(api.client.base_url), f"client-{number}{kind}", async_mode=kind == "a")
            for number, api in enumerate(apis)
            for kind in ("a", "s")
        ]
        with at_work(clients):
            with Database.open(url) as database:
                until(lambda: count_workers(database) == 2)
            until(lambda: all(len(client.accepted) >= 5 for client in clients))
            large = {f"large-{number:03d}": prose(number) for number in range(100)}
            job_ids = {apis[0].batch(large)}
            until(lambda: {apis[1].job(job_id)["status"] for job_id in job_ids} == {"running"})
            for is_last in (False, True):
                server.stop()
                until(lambda: all(is_reported_by_health(api) for api in apis))
                until(more(clients, lambda client: client.statuses[503]))
                if is_last:
                    require_end(workers.pop())
                server.start()
                until(more(clients, lambda client: len(client.accepted)))
        assert [client.oddities for client in clients] == [[], [], [], []]
        assert {status for client in clients for status in client.statuses} == {200, 503}
        with Database.open(url) as database:
            until(lambda: not unfinished(database), DRAIN_SECONDS)
            accepted = {doc_id: text for client in clients for doc_id, text in client.accepted.items()}
            require_there(database, accepted | large)
        job_ids |= {job_id for client in clients for job_id in client.job_ids}
        assert {apis[0].job(job_id)["status"] for job_id in job_ids} == {"completed"}
        assert all(api.get("/v1/health")["ok"] for api in apis)
        assert [process.poll() for process in [*workers, *(api.process for api in apis)]] == [None] * 3
        require_clean(settings)


def count_workers(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(WorkerRow)) or 0


@contextmanager
def at_work(clients: list[Client]) -> Iterator[None]:
    for client in clients:
        client.start()
    try:
        yield
    finally:
        for client in clients:
            client.has_enough.set()
        for client in clients:
            client.join(60)


def require_end(worker: Process) -> None:
    """One that is told to stop while there is no database ends well all the same."""
    worker.terminate()
    assert worker.wait(30) == 0


def is_reported_by_health(api: Api) -> bool:
    answer = api.client.get("/v1/health")
    health = answer.json()
    return answer.status_code == 503 and not health["db_ok"] and "Postgres" in health["problems"][0]


def more(clients: list[Client], measure: Callable[[Client], int]) -> Callable[[], bool]:
    """Whether each of them has more of it than now."""
    before = [measure(client) for client in clients]
    return lambda: all(measure(client) > earlier for client, earlier in zip(clients, before, strict=True))


def require_there(database: Database, accepted: dict[str, str]) -> None:
    """What was not acknowledged may be there too: its answer may have been lost."""
    with database.read() as session:
        live = Chunk.live_seq.is_not(None) & Chunk.dead_seq.is_(None)
        rows = session.execute(select(Chunk.doc_id, Chunk.text).where(live)).all()
    assert len({doc_id for doc_id, _ in rows}) == len(rows)
    assert accepted.items() <= {doc_id: text for doc_id, text in rows}.items()


def test_a_pooler_in_transaction_mode_may_stand_in_between(
    postgres: PostgresServer, tmp_path: Path, remote: dict[str, Any]
) -> None:
    with postgres.database() as url, pooled(url) as through:
        overrides = {"index_exact_up_to": 20, "job_lease_seconds": 2.0, "worker_nice": 0, **remote}
        settings = settings_in(tmp_path, database_url=through, **overrides)
        with api_process(settings) as api, worker_process(settings), worker_process(settings):
            clients = [Client(str(api.client.base_url), f"client-{n}", async_mode=n % 2 == 0) for n in range(8)]
            with at_work(clients):
                until(lambda: all(len(client.accepted) >= 10 for client in clients))
            assert {status for client in clients for status in client.statuses} == {200}
            rebuilt = api.wait(api.post("/v1/index/rebuild", PLACE)["job_id"])
            assert rebuilt["status"] == "completed"
            with Database.open(url) as database:
                until(lambda: not unfinished(database), DRAIN_SECONDS)
                require_there(database, {doc_id: text for each in clients for doc_id, text in each.accepted.items()})
            accepted_text = clients[0].accepted["client-0-0003"]
            assert api.search(accepted_text, top_k=1)[0]["doc_id"] == "client-0-0003"
        require_clean(settings)
        assert settings_of_sessions(through) == {("0", "0", "on")}


def settings_of_sessions(url: str) -> set[tuple[str, ...]]:
    """What the pooler's connections were left with: nothing of ours may stay behind for the next one."""
    names = ("statement_timeout", "lock_timeout", "enable_sort")
    rows = set()
    with ExitStack() as held:
        for _ in range(CONNECTIONS):
            database = held.enter_context(Database.open(url))
            session = held.enter_context(database.read())
            rows.add(tuple(str(session.scalar(text(f"SHOW {name}"))) for name in names))
    return rows
