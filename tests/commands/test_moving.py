"""An installation taken to another database and back: the same answers, the same rows, nothing embedded."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, inspect, make_url, select, text, update
from sqlalchemy.orm import Session

from database.dialects import epoch_now
from database.engine import Database
from domain import JobStatus, Mode, Scope
from errors import Conflict, DatabaseUnavailable
from migrations.upgrade import HEAD, MOVING, bring_up_to_date, current_revision
from models import Base, Chunk, Embedding, IndexRow, Job, Project, Revision, Team
from runtime.moving import open_move
from services.operations.comparing import PartComparison
from services.operations.moving import MovingService
from services.search.question import Answer, Question
from settings import Settings
from tests.support.accounts import issue
from tests.support.postgres import STRANGER, PostgresServer
from tests.support.processes import finished, process, until
from tests.support.prose import prose
from tests.support.service import MODEL, PLACE, Service, environment, open_service, settings_in

QUERIES = [prose(10_000 + number, 1) for number in range(30)]
OTHER = {"tenant_id": "Zoë & Söhne", "namespace": "日本語/手引き"}
REBUILT_TABLES = {"audit_chain", "indices", "jobs", "keywords", "vectors", "workers"}
COUNTED_ANEW = {"keywords_seq", "keywords_number"}


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database whose server tells the time of another country."""
    with postgres.database() as url:
        postgres.run(f"ALTER DATABASE {make_url(url).database} SET timezone TO 'Asia/Kolkata'")
        yield url


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an installation on SQLite, to be copied."""
    folder = tmp_path_factory.mktemp("furnished")
    with open_service(settings_in(folder)) as service:
        furnish(service)
    return folder


@pytest.fixture
def home(furnished: Path, tmp_path: Path) -> Settings:
    shutil.copytree(furnished, tmp_path / "home")
    return settings_in(tmp_path / "home")


@pytest.fixture
def small(tmp_path: Path) -> Settings:
    (tmp_path / "small").mkdir()
    settings = settings_in(tmp_path / "small")
    with open_service(settings) as service:
        service.upsert("cats", "Cats sleep.")
    return settings


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/target.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


def furnish(service: Service) -> None:
    """Two tenants' documents, as a life of edits, deletions, questions and work that waits leaves them."""
    docs = {f"doc-{number:03d}": f"{prose(number)}\n\n{prose(5000 + number, 12)}" for number in range(250)}
    service.batch(docs)
    for number in range(0, 40, 2):
        service.upsert(f"doc-{number:03d}", prose(20_000 + number), metadata={"edit": number})
    with service.runtime.database.write() as session:  # as earlier versions took it
        doc = session.scalars(select(Revision).where(Revision.doc_id == "doc-000", Revision.status == "live")).one()
        doc.doc_metadata = {"edit": 0, "nul": "a\x00b"}
    for number in range(1, 40, 4):
        service.delete(f"doc-{number:03d}")
    others = [{**OTHER, "doc_id": f"Übersicht-{n}-日", "text": f"Größe 日本語. {prose(n)}"} for n in range(30)]
    service.post("/v1/docs/upsert/batch", {"docs": others})
    issue(service, PLACE["tenant_id"], Scope.ADMIN)
    service.rebuild()
    for place in (PLACE, OTHER):
        service.post("/v1/search", {**place, "query": QUERIES[0]})
        service.post("/v1/ask", {**place, "question": QUERIES[0], "min_score": -1})
    service.upsert("tail", "What came after the checkpoint.")
    service.delete("doc-003")
    service.batch({f"waiting-{number}": prose(30_000 + number) for number in range(5)}, async_mode=True)


def answers(service: Service) -> list[list[tuple[str, str]]]:
    """The top 10 of every question, in their order. Scores of a checkpoint and of a tail differ in the last bit."""
    modes: tuple[Mode, ...] = ("dense", "hybrid")
    questions = [
        Question(place["tenant_id"], place["namespace"], query, 10, mode=mode)
        for place in (PLACE, OTHER)
        for mode in modes
        for query in QUERIES
    ]
    results = [_passages(each) for each in service.runtime.search.searching.search_many(questions)]
    assert {len(passages) for passages in results} == {10}
    return results


def _passages(answer: Answer | Exception) -> list[tuple[str, str]]:
    assert isinstance(answer, Answer), answer
    return [(each.chunk_id, each.text) for each in answer.passages]


def rows_of(url: str) -> dict[str, set[str]]:
    with Database.open(url) as database, database.read() as session:
        tables = [table for table in Base.metadata.sorted_tables if table.name not in REBUILT_TABLES]
        kept = {table.name: [each for each in table.columns if each.name not in COUNTED_ANEW] for table in tables}
        rows = {name: {repr(tuple(row)) for row in session.execute(select(*columns))} for name, columns in kept.items()}
        rows["audit_log"] = {row for row in rows["audit_log"] if "'installation.moved'" not in row}
        return rows


def scalar(url: str, statement: Any) -> Any:
    with Database.open(url) as database, database.read() as session:
        return session.scalar(statement)


@contextmanager
def writing(url: str) -> Iterator[Session]:
    with Database.open(url) as database, database.write() as session:
        yield session


@contextmanager
def moving(source: str, target: str, *, batch_rows: int = 70) -> Iterator[MovingService]:
    with open_move(Settings(min_free_disk_mb=0), source=source, target=target, batch_rows=batch_rows) as service:
        yield service


def move(source: str, target: str) -> list[PartComparison]:
    with moving(source, target) as service:
        total = service.begin()
        assert list(service.copy())[-1] == total
        compared = service.compare(lambda _: None)
        service.finish(compared)
        return compared


def command(source: str, target: str, *more: object) -> list[str]:
    return ["manage.py", "move", "--from", source, "--to", target, *map(str, more)]


def run(source: str, target: str, *more: object) -> subprocess.CompletedProcess[str]:
    return finished(command(source, target, *more), environment(Settings(min_free_disk_mb=0)))


def has_copied(target: Database, table: str) -> bool:
    """Has an unfinished move got as far as that table?"""
    with target.read() as session:
        if not inspect(session.connection()).has_table("unfinished_move"):
            return False
        state = session.execute(text("SELECT told FROM unfinished_move WHERE part = :part"), {"part": table}).scalar()
        return bool(json.loads(state or "{}").get("rows"))


def embeddings(url: str) -> int:
    return scalar(url, select(func.count()).select_from(Embedding)) or 0


# There and back


def test_an_installation_goes_to_postgres_and_back_and_answers_the_same(
    home: Settings, tmp_path: Path, postgres_url: str
) -> None:
    with open_service(home) as service:
        expected = answers(service)
    original = rows_of(home.database_url)

    compared = move(home.database_url, postgres_url)
    parts = {part.part for part in compared if part.source.rows}
    chunks, vectors = "chunks Zoë & Söhne/日本語/手引き", f"embeddings acme {MODEL}"
    assert parts >= {"chunks acme/project_001", chunks, vectors, "docs", "revisions", "jobs", "indices"}
    assert parts >= {"query_logs", "query_citations", "ingest_usage"}
    assert rows_of(postgres_url) == rows_of(home.database_url) == original
    embedded_before = embeddings(postgres_url)
    there = settings_in(tmp_path, database_url=postgres_url, index_dir=tmp_path / "there")
    with open_service(there) as service:
        assert answers(service) == expected
        assert service.runtime.operations.audit.verify().problems == []
        assert all("until the rebuild" in problem or "misses" in problem for problem in service.problems())
        with service.runtime.database.read() as session:
            assert session.scalars(select(IndexRow.faiss_path)).all() == [None, None]
            assert session.scalars(select(IndexRow.changes).order_by(IndexRow.changes)).all() == [
                *sorted(session.scalars(select(Project.live_chunks)))
            ]
        assert service.get("/v1/queue/stats")["pending"] == 3
        assert service.work() == 3  # two rebuilds, and the five documents that waited for their vectors
        assert embeddings(postgres_url) == embedded_before + 5
        assert service.problems() == []
        later = answers(service)

    back = f"sqlite:///{tmp_path}/back.db"
    assert all(part.is_equal for part in move(postgres_url, back))
    assert rows_of(back) == rows_of(postgres_url)
    with open_service(settings_in(tmp_path, database_url=back, index_dir=tmp_path / "back")) as service:
        assert answers(service) == later
        assert service.work() == 2
        assert answers(service) == later
        assert len(service.index_files()) == 2
        assert service.problems() == []
        assert service.doc("doc-000")["metadata"] == {"edit": 0, "nul": "a\x00b"}
        assert service.doc("doc-001", expect=404)
    assert embeddings(back) == embedded_before + 5
    assert rows_of(home.database_url) == original


def test_a_version_with_another_chunking_moves_too(small: Settings, postgres_url: str, tmp_path: Path) -> None:
    with open_service(small) as service:
        service.upsert(
            "ships", "The first ship sails at nine in the morning. The second ship waits for the fog to lift."
        )
        sentences = {"chunk_strategy": "sentences", "chunk_tokens": 16}
        version = {**PLACE, "name": "sentences", "chunking": sentences, "activate": "when_ready"}
        service.post("/v1/index/versions", version, expect=202)
        service.work()
        expected = [service.search(QUERIES[0], top_k=50, index_version=name) for name in ("initial", "sentences")]
    assert all(part.is_equal for part in move(small.database_url, postgres_url))
    with open_service(settings_in(tmp_path, database_url=postgres_url)) as service:
        service.work()
        assert service.problems() == []
        for name, answer in zip(("initial", "sentences"), expected, strict=True):
            chunks = service.search(QUERIES[0], top_k=50, index_version=name)["chunks"]
            assert {chunk["text"] for chunk in chunks} == {chunk["text"] for chunk in answer["chunks"]}


def test_documents_that_did_not_change_need_no_model_after_the_move(small: Settings, postgres_url: str) -> None:
    move(small.database_url, postgres_url)
    changed = {"database_url": postgres_url, "embedding_version": MODEL, "embed_model_name": "/there/is/no/such/model"}
    with open_service(small.model_copy(update=changed)) as service:
        assert service.upsert("cats", "Cats sleep.")["skipped_docs"] == 1


def test_a_new_tenant_gets_the_next_number_on_postgres(small: Settings, postgres_url: str) -> None:
    move(small.database_url, postgres_url)
    with open_service(small.model_copy(update={"database_url": postgres_url})) as service:
        service.post("/v1/docs/upsert", {**OTHER, "doc_id": "first", "text": "The first text."})
    assert scalar(postgres_url, select(Team.id).where(Team.name == OTHER["tenant_id"])) == 2


def test_a_null_stays_a_null_and_is_not_the_null_of_json(small: Settings, postgres_url: str) -> None:
    move(small.database_url, postgres_url)
    missing = select(func.count()).select_from(Chunk).where(text('chunks."metadata" IS NULL'))
    assert scalar(small.database_url, missing) == scalar(postgres_url, missing) == 1


def test_an_empty_installation_moves_too(tmp_path: Path, empty_url: str) -> None:
    source = f"sqlite:///{tmp_path}/nothing.db"
    with Database.open(source) as database:
        bring_up_to_date(database)
    move(source, empty_url)
    with Database.open(empty_url) as database:
        assert current_revision(database) == HEAD


# Cut in the middle


def test_a_move_that_is_killed_goes_on_where_it_was(home: Settings, tmp_path: Path, empty_url: str) -> None:
    for table in ("embeddings", "docs", "chunks"):
        cut_up = command(home.database_url, empty_url, "--batch-rows", 4)
        with Database.open(empty_url) as target, process(cut_up, home) as moving:
            until(partial(has_copied, target, table), pause=0.01)
            moving.kill()
        closed = pytest.raises(DatabaseUnavailable, match="A move into this database did not finish")
        with closed, open_service(home.model_copy(update={"database_url": empty_url})):
            pass
    copied = scalar(empty_url, select(func.count()).select_from(Chunk))
    assert 0 < copied < scalar(home.database_url, select(func.count()).select_from(Chunk))

    other = tmp_path / "other"
    shutil.copytree(tmp_path / "home", other)
    refused = run(f"sqlite:///{other}/rag.db", empty_url)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(
        f"error: The target holds an unfinished move from another source, sqlite {tmp_path}"
    )

    done = run(home.database_url, empty_url)
    assert done.returncode == 0, done.stderr
    assert "DIFFERS" not in done.stdout
    assert "2 rebuild jobs wait for a worker" in done.stdout
    assert rows_of(empty_url) == rows_of(home.database_url)
    with Database.open(empty_url) as database, database.read() as session:
        assert current_revision(database) == HEAD
        assert not inspect(session.connection()).has_table("unfinished_move")


def test_of_two_moves_to_one_target_one_is_refused_and_no_row_comes_twice(home: Settings, empty_url: str) -> None:
    with moving(home.database_url, empty_url) as one, moving(home.database_url, empty_url) as other:
        assert one.begin() == other.begin()
        with pytest.raises(Conflict, match="Another move to the same target is running"):
            list(zip(one.copy(), other.copy(), strict=False))
    move(home.database_url, empty_url)
    assert rows_of(empty_url) == rows_of(home.database_url)


# Refused


def test_a_target_that_is_not_empty_is_refused_and_left_alone(small: Settings, empty_url: str) -> None:
    with open_service(small.model_copy(update={"database_url": empty_url})) as service:
        service.upsert("dogs", "Dogs bark.")
    before = rows_of(empty_url)
    refused = run(small.database_url, empty_url)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: The target is not empty: it has rows in ")
    assert refused.stderr.endswith("name an empty database.\n")
    assert rows_of(empty_url) == before


def test_a_database_is_not_moved_onto_itself(small: Settings) -> None:
    refused = run(small.database_url, f"{small.database_url}?timeout=9")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: Source and target are the same database")


def test_a_source_that_is_not_there_or_has_another_schema_is_refused(tmp_path: Path, postgres_url: str) -> None:
    nowhere = tmp_path / "nowhere.db"
    refused = run(f"sqlite:///{nowhere}", postgres_url)
    assert refused.stderr == f"error: There is no database file {nowhere}: --from has to name the one to move.\n"
    assert not nowhere.exists()
    refused = run(postgres_url, f"sqlite:///{nowhere}")
    assert refused.stderr.startswith(f"error: The source has schema none, and this code has {HEAD}")


def test_a_source_at_work_is_refused_until_its_worker_is_gone(small: Settings, postgres_url: str) -> None:
    with open_service(small) as service:
        job_id = service.post("/v1/index/rebuild", PLACE)["job_id"]
    held = {"status": JobStatus.RUNNING, "worker": "host-1", "attempts": 1}
    with writing(small.database_url) as session:
        session.execute(update(Job).values(**held, lease_until=epoch_now() + 60))
    refused = run(small.database_url, postgres_url)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: 1 jobs run in the source. Stop the API and the workers")
    with writing(small.database_url) as session:
        session.execute(update(Job).values(lease_until=epoch_now() - 1))
    move(small.database_url, postgres_url)
    with open_service(small.model_copy(update={"database_url": postgres_url})) as service:
        assert service.job(job_id)["status"] == "running"
        service.work()
        assert service.job(job_id)["status"] == "completed"


@pytest.mark.parametrize("moment", ["copying", "compared"])
def test_a_source_that_changes_meanwhile_is_noticed(small: Settings, postgres_url: str, moment: str) -> None:
    with open_service(small) as service, moving(small.database_url, postgres_url) as move_:
        move_.begin()
        if moment == "copying":
            copying = move_.copy()
            next(copying)
            service.upsert("dogs", "Dogs bark.")
            with pytest.raises(Conflict, match="The source has changed since the move began"):
                list(copying)
        else:
            list(move_.copy())
            compared = move_.compare(lambda _: None)
            service.delete("cats")
            with pytest.raises(Conflict, match="The source has changed"):
                move_.finish(compared)
    with Database.open(postgres_url) as database:
        assert current_revision(database) == MOVING


def test_a_difference_is_shown_and_keeps_the_target_closed(small: Settings, postgres_url: str) -> None:
    with moving(small.database_url, postgres_url) as service:
        service.begin()
        list(service.copy())
    with writing(postgres_url) as session:
        session.execute(update(Embedding).values(vector=b"\x00" * 1536))
    refused = run(small.database_url, postgres_url)
    assert refused.returncode == 1
    assert [line.split()[0] for line in refused.stdout.splitlines() if "DIFFERS" in line] == ["embeddings"]
    assert refused.stderr.startswith("error: 1 of ")
    with Database.open(postgres_url) as database:
        assert current_revision(database) == MOVING


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"title": "a\x00b"}, "cannot contain NUL"),
        ({"doc_metadata": {"n": float("inf")}}, 'Token "Infinity" is invalid'),
    ],
)
def test_a_row_that_postgres_cannot_hold_is_named(
    small: Settings, postgres_url: str, bad: dict[str, Any], why: str
) -> None:
    with open_service(small) as service:
        service.upsert("bad", "A text.")
    with writing(small.database_url) as session:
        session.execute(update(Revision).where(Revision.doc_id == "bad").values(**bad))
    refused = run(small.database_url, postgres_url)
    row = "error: The target cannot hold this row of revisions: team_id=1, project_id=1, doc_id='bad', revision=1 ("
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert refused.stderr.startswith(row)
    assert why in refused.stderr


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"port": 1}, "Postgres does not answer: see that it runs and that --to names its host and port."),
        ({"username": STRANGER, "password": "wrong"}, "Postgres refuses the user or the password in --to."),
        ({"database": "nowhere"}, "Postgres has no such database or user: create it first, or correct --to."),
    ],
)
def test_a_target_that_cannot_be_reached_is_told_in_a_line(
    small: Settings, postgres_url: str, changed: dict[str, Any], message: str
) -> None:
    target = make_url(postgres_url).set(**changed).render_as_string(hide_password=False)
    refused = run(small.database_url, target)
    assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", f"error: {message}\n")
