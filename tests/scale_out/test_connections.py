"""What a Postgres can do to a connection: whoever waits is told in time, and nothing is done twice or half."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, make_url, select, text, update
from sqlalchemy.orm import Session

from app_v1 import create_app
from database.engine import Database
from database.postgres import CONNECT_ARGS
from database.repeating import repeatable
from errors import DatabaseUnavailable, Interrupted
from migrations.upgrade import HEAD, bring_up_to_date, current_revision
from models import Team
from runtime.opening import open_runtime
from tests.support.postgres import STRANGER, PostgresServer
from tests.support.processes import PATIENCE_SECONDS, ROOT
from tests.support.relay import relay
from tests.support.service import PLACE, environment, open_service, settings_in


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with Database.open(url) as database:
        bring_up_to_date(database)
        with database.write() as session:
            session.add_all([Team(name="one"), Team(name="two")])
        yield database


def count(session: Session, name: str) -> None:
    session.execute(update(Team).where(Team.name == name).values(next_project_id=Team.next_project_id + 1))


def counted(database: Database) -> list[int]:
    with database.read() as session:
        return list(session.scalars(select(Team.next_project_id).order_by(Team.name)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"username": STRANGER, "password": "wrong"}, "refuses the user or the password in DATABASE_URL"),
        ({"port": 1}, "does not answer: see that it runs and that DATABASE_URL names its host and port"),
        ({"database": "nowhere"}, "has no such database or user"),
        ({"query": {"options": "-c default_transaction_read_only=on"}}, "must name the primary"),
    ],
)
def test_a_postgres_that_cannot_be_had_is_told_at_the_start(
    tmp_path: Path, url: str, changed: dict[str, str], message: str
) -> None:
    wrong = make_url(url).set(**changed).render_as_string(hide_password=False)  # type: ignore[arg-type]
    with pytest.raises(DatabaseUnavailable, match=message), open_runtime(settings_in(tmp_path, database_url=wrong)):
        pass


def test_of_several_hosts_the_one_that_answers_is_taken(url: str) -> None:
    behind = make_url(url)
    hosts = {"host": ("127.0.0.1:1", f"{behind.host}:{behind.port}"), "target_session_attrs": "read-write"}
    several = behind.set(host="", query=hosts)._replace(port=None).render_as_string(hide_password=False)
    with Database.open(several) as database:
        bring_up_to_date(database)
        assert current_revision(database) == HEAD


def test_a_host_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONNECT_ARGS, "connect_timeout", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/rag"
        settings = settings_in(tmp_path, database_url=url)
        with pytest.raises(DatabaseUnavailable, match="does not answer"), open_runtime(settings):
            pass


def test_a_user_who_may_not_make_tables_is_told_what_to_do(postgres: PostgresServer, url: str, tmp_path: Path) -> None:
    with postgres.role() as name:
        settings = settings_in(tmp_path, database_url=make_url(url).set(username=name).render_as_string())
        with (
            pytest.raises(DatabaseUnavailable, match=r"run manage\.py migrate as a user who has it"),
            open_runtime(settings),
        ):
            pass


def test_a_worker_and_an_api_that_cannot_start_end_with_the_reason_and_no_password(url: str, tmp_path: Path) -> None:
    wrong = make_url(url).set(username=STRANGER, password="hunter2").render_as_string(hide_password=False)
    variables = environment(settings_in(tmp_path, database_url=wrong))
    why = "Postgres refuses the user or the password in DATABASE_URL."
    worker = subprocess.run([sys.executable, "worker.py"], cwd=ROOT, env=variables, capture_output=True, text=True)
    assert (worker.returncode, worker.stderr) == (1, f"worker: {why}\n")
    command = [sys.executable, "-m", "uvicorn", "app_v1:app", "--port", "0"]
    api = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert api.returncode != 0
    assert api.stderr.count(why) == 1
    assert not [name for name in ("psycopg", "sqlalchemy", "hunter2") if name in api.stderr]


def test_a_request_does_not_wait_longer_than_the_settings_say(database: Database, url: str) -> None:
    with Database.open(url, statement_timeout_seconds=0.5, lock_timeout_seconds=0.25) as impatient:
        slow = pytest.raises(DatabaseUnavailable, match="DATABASE_STATEMENT_TIMEOUT_SECONDS")
        with slow, impatient.read() as session:
            session.execute(select(func.pg_sleep(600)))
        with database.write() as holder:
            count(holder, "one")
            locked = pytest.raises(DatabaseUnavailable, match="DATABASE_LOCK_TIMEOUT_SECONDS")
            with locked, impatient.write() as session:
                count(session, "one")
        with impatient.migrating() as connection:
            connection.execute(select(func.pg_sleep(0.6)))
    assert counted(database) == [2, 1]


def test_only_who_answers_requests_limits_its_statements(url: str, tmp_path: Path) -> None:
    settings = settings_in(tmp_path, database_url=url)
    with TestClient(create_app(settings)) as client, open_runtime(settings) as worker:
        for runtime, statement in ((client.app_state["runtime"], "1min"), (worker, "0")):
            with runtime.database.read() as session:
                timeouts = [session.scalar(text(f"SHOW {name}")) for name in ("statement_timeout", "lock_timeout")]
            assert timeouts == [statement, "30s"]


def test_connections_that_are_all_in_use_are_told_so(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("database.postgres.POOL_TIMEOUT_SECONDS", 0.1)
    refused = pytest.raises(DatabaseUnavailable, match="DATABASE_POOL_SIZE")
    with Database.open(url, pool_size=1) as small, small.write(), small.write(), refused, small.write():
        pass


def test_two_that_wait_for_each_other_are_both_done_once(url: str) -> None:
    with Database.open(url) as database:
        bring_up_to_date(database)
        with database.write() as session:
            session.add_all([Team(name="one"), Team(name="two")])
        meet, tries = Barrier(2), []

        @repeatable
        def count_both(first: str, second: str) -> None:
            tries.append(first)
            with database.write() as session:
                count(session, first)
                if len(tries) <= 2:  # the first try of each
                    meet.wait(PATIENCE_SECONDS)
                count(session, second)

        threads = [Thread(target=count_both, args=names) for names in (("one", "two"), ("two", "one"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        assert (len(tries), counted(database)) == (3, [3, 3])


def test_a_connection_that_breaks_before_the_commit_is_tried_again_and_counts_once(database: Database) -> None:
    tries = []

    @repeatable
    def count_one() -> None:
        tries.append(1)
        with database.write() as session:
            count(session, "one")
            if len(tries) == 1:
                end_session(database, session)
            count(session, "two")

    count_one()
    assert (len(tries), counted(database)) == (2, [2, 2])
    with pytest.raises(Interrupted, match="nothing was changed"), database.read() as session:
        end_session(database, session)
        session.execute(select(Team))


def end_session(database: Database, session: Session) -> None:
    pid = session.scalar(select(func.pg_backend_pid()))
    with database.write() as other:
        other.execute(select(func.pg_terminate_backend(pid)))


def test_a_request_whose_connection_breaks_is_answered_as_if_nothing_had_been(url: str, tmp_path: Path) -> None:
    with relay(url) as line, open_service(settings_in(tmp_path, database_url=line.url)) as service:
        service.upsert("before", "Dogs bark.")
        line.cut_after(b"INSERT INTO revisions")
        assert service.upsert("doc", "Cats sleep.")["upserted_docs"] == 1
        assert line.is_cut
        line.cut_after(b"FROM docs JOIN revisions")
        assert service.doc("doc")["revision"] == 1
        assert line.is_cut
        assert sorted(service.hit_ids("cats")) == ["before", "doc"]
        assert service.problems() == []


def test_a_commit_whose_answer_is_lost_is_not_done_again_and_who_asked_is_told(url: str, tmp_path: Path) -> None:
    with relay(url) as line, open_service(settings_in(tmp_path, database_url=line.url)) as service:
        service.upsert("before", "Dogs bark.")
        line.cut_after(b"INSERT INTO revisions", b"COMMIT")
        sent = {**PLACE, "doc_id": "doc", "text": "Cats sleep."}
        answer = service.client.post("/v1/docs/upsert", json=sent)
        assert line.is_cut
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "whether the change was kept is unknown" in answer.json()["detail"]
        assert service.upsert("doc", "Cats sleep.")["skipped_docs"] == 1  # it was, and once
        assert service.doc("doc")["revision"] == 1
        assert service.problems() == []


def test_what_was_tried_again_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    @repeatable
    def always_broken() -> None:
        raise Interrupted("The connection to Postgres broke.")

    with caplog.at_level(logging.WARNING), pytest.raises(Interrupted):
        always_broken()
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
