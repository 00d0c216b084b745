"""The schema that migrations make is the one that models.py says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Index, Table, UniqueConstraint, inspect, make_url, select, text

import models
from database.engine import Database
from errors import DatabaseUnavailable
from migrations.comparing import is_compared
from migrations.upgrade import HEAD, bring_up_to_date, current_revision
from models import ApiKey, Base, Team
from tests.support.postgres import PostgresServer
from tests.support.service import PLACE, open_service, settings_in

ROOT = Path(__file__).parents[2]
NOT_OWNED = {"teams", "embedding_versions", "installation", "workers", "idempotency_keys", "pending_blobs", "backups"}
NOT_OWNED |= {"backup_places", "erasure_ledger", "audit_log", "audit_chain"}


@pytest.fixture
def database(empty_url: str) -> Iterator[Database]:
    with Database.open(empty_url) as database:
        yield database


def test_an_empty_database_brought_to_head_equals_the_models(database: Database) -> None:
    bring_up_to_date(database)
    assert current_revision(database) == HEAD
    with database.engine.connect() as connection:
        options = {"compare_type": True, "include_object": is_compared(connection.dialect.name)}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_the_page_of_the_models_names_every_table() -> None:
    assert sorted(re.findall(r"^    (\w+)", models.__doc__ or "", re.MULTILINE)) == sorted(Base.metadata.tables)


def test_the_head_named_in_the_code_is_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_down_to_nothing_and_up_again(database: Database) -> None:
    bring_up_to_date(database)
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}
    bring_up_to_date(database)
    assert current_revision(database) == HEAD


def test_what_is_there_survives_the_way_down_to_the_first_tables_and_up_again(tmp_path: Path, empty_url: str) -> None:
    settings = settings_in(tmp_path, database_url=empty_url)
    with open_service(settings) as service:
        service.upsert("doc", "Cats sleep.", metadata={"year": 2020})
        service.upsert("long", "Dogs bärk. " * 100)
        service.client.post("/v1/docs/upload", data=PLACE, files={"file": ("birds.txt", b"Birds sing. " * 50)})
        service.work()
        service.search("cats")
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    with Database.open(empty_url) as database, database.migrating() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    with open_service(settings) as after:
        after.work()
        for mode in ("dense", "keyword", "hybrid"):
            assert after.hit_ids("cats", mode=mode, filters={"year": 2020}) == ["doc"]
        assert after.problems() == []


def test_on_the_way_down_keys_that_see_a_part_are_revoked(database: Database) -> None:
    """An older version would let them see everything."""
    bring_up_to_date(database)
    limits: dict[str, dict[str, Any]] = {"all": {}, "one": {"filters": {"a": 1}}, "other": {"namespaces": ["notes"]}}
    with database.write() as session:
        session.add(Team(name="acme"))
        session.flush()
        keys = [
            ApiKey(team_id=1, id=name, name="", key_hash=b"", scopes="search", **each) for name, each in limits.items()
        ]
        session.add_all(keys)
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    with database.migrating() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0020")
        rows = connection.execute(text("SELECT id FROM api_keys WHERE revoked_at IS NOT NULL ORDER BY id")).all()
    assert [row[0] for row in rows] == ["one", "other"]
    bring_up_to_date(database)
    with database.read() as session:
        assert {row.id: row.filters for row in session.scalars(select(ApiKey))} == dict.fromkeys(limits)


def test_rows_of_words_are_written_anew_where_words_have_changed(tmp_path: Path, empty_url: str) -> None:
    settings = settings_in(tmp_path, database_url=empty_url)
    with open_service(settings) as service:
        service.upsert("doc", "Cats sleep.")
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    with Database.open(empty_url) as database, database.migrating() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0007")
        [row] = connection.execute(text("SELECT team_id, project_id, faiss_id, posting FROM keywords")).mappings().all()
        connection.execute(text("DELETE FROM keywords"))
        older = "INSERT INTO keywords VALUES (:team_id, :project_id, :faiss_id, :posting, 'older')"
        connection.execute(text(older), dict(row))
    with open_service(settings) as after:
        assert after.hit_ids("cats", mode="keyword") == ["doc"]
        assert after.problems() != []
        after.work()
        assert after.hit_ids("cats", mode="keyword") == ["doc"]
        after.delete("doc")
        assert after.hit_ids("cats", mode="keyword") == []
        assert after.problems() == []


def test_processes_that_start_together_migrate_once(empty_url: str) -> None:
    failures: list[BaseException] = []

    def start() -> None:
        try:
            with Database.open(empty_url) as database:
                bring_up_to_date(database)
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    bring_up_to_date(database)
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseUnavailable, match="9999, which this code does not know"):
        bring_up_to_date(database)


def test_times_are_in_utc_whatever_zone_a_postgres_keeps(postgres: PostgresServer) -> None:
    now = datetime(2024, 2, 29, 23, 59, 59, 123456, UTC)
    with postgres.database() as url:
        postgres.run(f"ALTER DATABASE {make_url(url).database} SET timezone TO 'Asia/Kolkata'")
        with Database.open(url) as database:
            bring_up_to_date(database)
            with database.write() as session:
                session.add(Team(name="acme", created_at=now))
            with database.read() as session:
                created_at = session.scalars(select(Team.created_at)).one()
    assert (created_at, created_at.tzinfo) == (now, UTC)


@pytest.mark.parametrize("table", Base.metadata.sorted_tables, ids=lambda table: table.name)
def test_keys_of_what_a_tenant_owns_hold_the_team(table: Table) -> None:
    """So that rows of one tenant can be kept together, and a reference never leads from one tenant to another."""
    if table.name in NOT_OWNED:
        assert "team_id" not in table.columns, "it is owned: take it out of NOT_OWNED"
        return
    assert next(iter(table.primary_key.columns)).name == "team_id"
    assert not table.columns["team_id"].nullable
    unique: list[UniqueConstraint | Index] = [each for each in table.constraints if isinstance(each, UniqueConstraint)]
    unique += [index for index in table.indexes if index.unique]
    assert [each.name for each in unique if "team_id" not in each.columns] == []
    assert not any(column.unique for column in table.columns)
    for foreign in table.foreign_key_constraints:
        pairs = {element.parent.name: element.target_fullname for element in foreign.elements}
        owner = "teams.id" if foreign.referred_table.name == "teams" else f"{foreign.referred_table.name}.team_id"
        assert foreign.referred_table.name == "embedding_versions" or pairs.get("team_id") == owner, foreign.name


def test_names_fit_every_database() -> None:
    names = re.findall(
        r'"((?:ix|uq|fk|pk)__\w+)"', "".join(p.read_text() for p in ROOT.glob("migrations/versions/*.py"))
    )
    assert names
    assert max(map(len, names)) <= 63
