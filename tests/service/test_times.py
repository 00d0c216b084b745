"""Times: brought to UTC and held within what can be read again, wherever they come from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import StatementError
from typer.testing import CliRunner

import manage
from database.engine import Database
from domain import ANYONE, Scope
from errors import Invalid
from models import ApiKey, Team, utc_now
from tests.support.accounts import TeamClient, keyed, make_team
from tests.support.service import Service, environment, open_service, settings_in
from times import EARLIEST, LATEST, in_utc, shifted, storable

__all__ = ["keyed"]

ROOT = Path(__file__).parents[2]
WEST, EAST = timezone(-timedelta(hours=12)), timezone(timedelta(hours=14))
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def team(keyed: Service) -> Iterator[TeamClient]:
    yield make_team(keyed, "acme")


@pytest.mark.parametrize("zone", [UTC, WEST, EAST])
def test_a_time_is_the_same_moment_in_utc(zone: timezone) -> None:
    moved = storable(NOON.astimezone(zone))
    assert (moved, moved.tzinfo) == (NOON, UTC)


@pytest.mark.parametrize(
    ("check", "time", "why"),
    [
        (in_utc, datetime(2030, 1, 1), "with its zone"),  # which is what is refused
        (in_utc, datetime(9999, 12, 31, 23, tzinfo=WEST), "between the years"),
        (in_utc, datetime(1, 1, 1, tzinfo=EAST), "between the years"),
        (storable, LATEST + timedelta(seconds=1), "between the years 2 and 9998"),
        (storable, EARLIEST - timedelta(seconds=1), "between the years 2 and 9998"),
    ],
)
def test_a_time_that_cannot_be_kept_is_refused(check: Callable[[datetime], datetime], time: datetime, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check(time)


def test_a_time_is_shifted_as_far_as_times_go() -> None:
    assert shifted(NOON, days=1, seconds=-1) == NOON + timedelta(days=1, seconds=-1)
    for far in (1e9, 1e300, float("inf")):
        assert (shifted(NOON, days=far), shifted(NOON, seconds=-far * 1e6)) == (LATEST, EARLIEST)


def test_a_time_of_another_zone_is_kept_and_compared_as_its_moment(database_url: str, tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path, database_url=database_url)) as service:
        database = service.runtime.database
        with database.write() as session:
            session.add(Team(name="acme", created_at=NOON.astimezone(EAST)))
        with database.read() as session:
            assert session.scalars(select(Team.created_at)).one() == NOON
            for later, count in ((-1, 1), (1, 0)):
                moment = (NOON + timedelta(hours=later)).astimezone(WEST)
                query = select(func.count()).select_from(Team).where(Team.created_at > moment)
                assert session.scalar(query) == count
        for wrong in (datetime(2030, 1, 1), datetime(9999, 12, 31, 23, tzinfo=WEST)):
            with pytest.raises(StatementError, match="is needed"), database.write() as session:
                session.execute(update(Team).values(created_at=wrong))


@pytest.mark.parametrize("offset", ["+05:00", "-11:30", "Z"])
def test_a_key_ends_at_the_moment_that_was_asked_for(team: TeamClient, offset: str) -> None:
    ends_at = datetime.fromisoformat(f"2100-01-01T00:00:00{offset}")
    body = {"scopes": ["search"], "expires_at": ends_at.isoformat()}
    issued = team.post(f"{team.own}/api-keys", body, expect=201)
    [listed] = [key for key in team.get(f"{team.own}/api-keys")["data"] if key["key_id"] == issued["key_id"]]
    for each in (issued, listed):
        assert datetime.fromisoformat(each["expires_at"]) == ends_at
        assert each["expires_at"].endswith("Z")


def test_a_key_that_has_ended_in_its_own_zone_is_not_made(team: TeamClient) -> None:
    past = (utc_now() - timedelta(minutes=5)).astimezone(EAST)
    body = {"scopes": ["search"], "expires_at": past.isoformat()}
    assert "has passed already" in team.post(f"{team.own}/api-keys", body, expect=422)["detail"]


@pytest.mark.parametrize(
    "time", ["9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "2100-01-01T00:00:00"]
)
def test_a_key_cannot_end_when_no_driver_could_read_it(team: TeamClient, time: str) -> None:
    refused = team.post(f"{team.own}/api-keys", {"scopes": ["search"], "expires_at": time}, expect=422)
    assert refused["error"]["param"] == "expires_at"
    assert len(team.get(f"{team.own}/api-keys")["data"]) == len(Scope)


def test_a_key_that_lives_very_long_can_be_replaced_again_and_again(team: TeamClient) -> None:
    body = {"scopes": ["search"], "expires_at": "9998-12-31T00:00:00Z"}
    issued = team.post(f"{team.own}/api-keys", body, expect=201)
    with team.service.runtime.database.write() as session:
        born = utc_now() - timedelta(days=400)
        session.execute(update(ApiKey).where(ApiKey.id == issued["key_id"]).values(created_at=born))
    for _ in range(2):
        issued = team.post(f"{team.own}/api-keys/{issued['key_id']}/rotate", {}, expect=201)
        assert datetime.fromisoformat(issued["expires_at"]) == LATEST
    assert len(team.get(f"{team.own}/api-keys")["data"]) == len(Scope) + 3


@pytest.mark.parametrize("overlap_seconds", [float("nan"), -1.0])
def test_an_overlap_that_is_no_length_of_time_is_refused(team: TeamClient, overlap_seconds: float) -> None:
    key_id = team.keys[Scope.SEARCH][4:20]
    with pytest.raises(Invalid, match="overlap"):
        team.service.runtime.accounts.keys.rotate("acme", key_id, overlap_seconds=overlap_seconds, by=ANYONE)


def test_lengths_of_time_beyond_the_calendar_are_for_ever_on_the_command_line(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with open_service(settings) as service:
        make_team(service, "acme")

    def run(*arguments: str) -> str:
        done = CliRunner(env=environment(settings)).invoke(manage.app, list(arguments))
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    key = run("issue-key", "--team", "acme", "--scope", "search", "--days", str(10**9))
    run("rotate-key", key[4:20], "--overlap-hours", "1e300")
    assert "9998-12-31" in run("list-keys", "--team", "acme")


def test_a_worker_keeps_for_ever_what_a_setting_keeps_longer_than_there_are_times(service: Service) -> None:
    for keep in (1e9, 1e300):
        assert service.runtime.queue.prune(keep) == 0
        assert service.runtime.answers.query_log.prune(keep) == 0
        assert service.runtime.ingest.pending_blobs.sweep(grace_seconds=keep) == 0


def test_a_filter_may_compare_with_any_time_of_the_calendar(service: Service) -> None:
    service.upsert("doc", "Cats sleep.")
    for bounds in ({"$lte": "9999-12-31T23:59:59Z"}, {"$gte": "0001-01-01T00:00:00Z"}):
        assert service.hit_ids("cats", filters={"created_at": bounds}) == ["doc"]
    for time in ("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"):
        assert "takes a time" in service.search("x", filters={"created_at": {"$lt": time}}, expect=422)["detail"]


def test_a_time_that_an_older_version_let_in_breaks_neither_the_start_nor_a_list(
    tmp_path: Path, database_url: str
) -> None:
    settings = settings_in(tmp_path, database_url=database_url, auth_mode="keys")
    with open_service(settings) as service:
        team = make_team(service, "acme")
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    with Database.open(database_url) as database, database.migrating() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0008")
        time = "9999-12-31 23:59:59" if database.file else "10000-01-01 11:59:59+00"
        connection.execute(text(f"UPDATE api_keys SET expires_at = '{time}'"))
    with open_service(settings) as after:
        listed = TeamClient(after, "acme", team.keys).get(f"{team.own}/api-keys")["data"]
        assert {datetime.fromisoformat(key["expires_at"]) for key in listed} == {LATEST}


def test_an_api_starts_although_it_cannot_look_whether_anybody_is_admin(
    tmp_path: Path, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By a row that no driver reads, or by whatever else."""
    settings = settings_in(tmp_path, database_url=database_url, auth_mode="keys")
    with open_service(settings) as service:
        make_team(service, "acme")
        with service.runtime.database.write() as session:
            session.execute(text("ALTER TABLE api_keys RENAME COLUMN scopes TO elsewhere"))
    with open_service(settings) as after:
        assert after.client.get("/v1/health").json() == {"ok": True}
    assert "could not check for a key with the scope admin" in caplog.text


@pytest.mark.parametrize("name", ["\x00", "half \ud83d", "x" * 256])
def test_a_note_that_no_database_keeps_is_refused(team: TeamClient, name: str) -> None:
    content = json.dumps({"scopes": ["search"], "name": name})
    headers = {"Content-Type": "application/json"}
    answer: Any = team.ask("POST", f"{team.own}/api-keys", content=content, headers=headers)
    assert answer.status_code == 422, answer.text
    with pytest.raises(Invalid, match="name has"):
        team.service.runtime.accounts.keys.issue("acme", name=name, scopes=[Scope.SEARCH], expires_at=None, by=ANYONE)
    assert len(team.get(f"{team.own}/api-keys")["data"]) == len(Scope)
