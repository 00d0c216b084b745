"""Every string of every request, with what strings may hold: refused by name or kept, alike on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app_v1 import create_app
from domain import Scope
from errors import Unstorable
from models import Base, Doc
from tests.support.accounts import TeamClient, make_team
from tests.support.postgres import PostgresServer
from tests.support.routes import resolved, routes_of
from tests.support.service import PLACE, Service, open_service, settings_in
from tests.support.strings import string_slots_of
from text.nesting import strings_in

NUL, SURROGATE, CR_LF, LONG = "a\x00b", "a\ud800b", "a\r\nb", "x" * (1 << 20)
SENT = {
    "NUL": NUL,
    "surrogate": SURROGATE,
    "CR LF": CR_LF,
    "1 MB": LONG,
    "right to left": "\u200f\u202e\u05d0\u05d1\u202c",
    "emoji": "🦊👩\u200d👩\u200d👧",
}
LINES = ("title ", "mime_type ", "name ", "doc_id ", "new_embedding_version ", "chunk_strategy ", "url ", "modes.0 ")
NEW_NAMES = {"POST /v1/teams body.tenant_id", "POST /v1/teams/{tenant_id}/projects body.namespace"}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[list[TeamClient]]:
    """A team with keys on each database."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("strings")
        urls = [f"sqlite:///{folder}/rag.db", stack.enter_context(postgres.database())]
        teams = []
        for number, url in enumerate(urls):
            (folder / str(number)).mkdir()
            settings = settings_in(
                folder / str(number), database_url=url, auth_mode="keys", max_text_chars=100_000, fetch_enabled=True
            )
            teams.append(make_team(stack.enter_context(open_service(settings)), "team"))
        yield teams


def furnished(team: TeamClient) -> dict[str, Any]:
    """What requests name, and one of each thing."""
    place = {"tenant_id": "team", "namespace": "place"}
    team.post(f"{team.own}/projects", {"namespace": "place"}, expect=201)
    team.post("/v1/docs/upsert", {**place, "doc_id": "doc", "text": "Cats sleep."})
    job = team.post("/v1/index/rebuild", place)["job_id"]
    key = team.post(f"{team.own}/api-keys", {"scopes": ["search"]}, expect=201)["key_id"]
    erasure = team.post("/v1/erasures", {**place, "doc_ids": ["nothing"]}, expect=202)["erasure_id"]
    known = {**place, "doc_id": "doc", "job_id": job, "key_id": key, "erasure_id": erasure, "index_version": "initial"}
    [store] = [each["id"] for each in team.get("/v1/vector_stores")["data"] if each["namespace"] == "place"]
    cats = {"file": ("cats.txt", b"Cats in a file.")}
    file = team.ask("POST", "/v1/files", data={"purpose": "assistants"}, files=cats, expect=200)["id"]
    batch = team.post(f"/v1/vector_stores/{store}/file_batches", {"file_ids": [file]})["id"]
    announced = {"filename": "cats.txt", "purpose": "assistants", "bytes": 15, "mime_type": "text/plain"}
    upload = team.post("/v1/uploads", announced)["id"]
    known |= {"vector_store_id": store, "file_id": file, "batch_id": batch, "upload_id": upload}
    hook = team.post("/v1/webhooks", {"url": "https://93.184.216.34/hook"}, expect=201)["webhook_id"]
    known |= {"model": "place", "knowledge_id": "place", "webhook_id": hook}
    return {**known, "url": "ftp://nowhere", "reembed": True}


def test_no_string_breaks_a_route_and_both_databases_answer_alike(both: list[TeamClient]) -> None:
    known = [furnished(team) for team in both]
    document = both[0].service.client.get("/openapi.json").json()
    routes = [route for route in routes_of(document) if route.takes_keys]
    answered: list[dict[str, int]] = []
    for team, names in zip(both, known, strict=True):
        places = [place for route in routes for place in string_slots_of(route, names)]
        answered.append(
            {f"{place} {what}": status(team, place, sent) for place in places for what, sent in SENT.items()}
        )
    assert answered[0] == answered[1]
    assert {case: status for case, status in answered[0].items() if status >= 500} == {}
    assert len(answered[0]) > 500
    for case, code in answered[0].items():
        _, _, what = case.partition(" body.")
        if what.endswith(" surrogate") or (what.startswith(LINES) and what.endswith((" CR LF", " NUL", " 1 MB"))):
            assert code in ((413, 422) if what.endswith(" 1 MB") else (422,)), case  # or longer than the body may be
    assert {answered[0][f"{place} {what}"] for place in NEW_NAMES for what in ("NUL", "CR LF")} == {422}
    assert {answered[0][f"{place} 1 MB"] for place in NEW_NAMES} <= {413, 422}
    assert {answered[0][f"{place} emoji"] for place in NEW_NAMES} == {201}
    assert [text for team in both for text in stored(team.service) if "\x00" in text] == []


def status(team: TeamClient, place: Any, sent: str) -> int:
    status: int = team.ask(**place.request(sent), scope=Scope.OPERATOR).status_code
    return status


def stored(service: Service) -> Iterator[str]:
    """Every string in every row, those within JSON too."""
    with service.runtime.database.read() as session:
        for table in Base.metadata.sorted_tables:
            if table.info.get("only_on") is None:
                for row in session.execute(select(table)):
                    yield from strings_in(list(row))


def test_every_string_of_a_request_says_how_long_it_may_be() -> None:
    """What has no length of its own is one of few words, a time, or JSON whose size is limited as a whole."""
    document = create_app().openapi()
    unlimited = []
    for route in routes_of(document):
        media = route.operation.get("requestBody", {}).get("content", {}).values()
        for each in (*route.operation.get("parameters", []), *media):
            for where, schema in strings_of(each["schema"], document):
                if not {"maxLength", "enum", "const", "format", "contentMediaType"} & schema.keys():
                    unlimited.append(f"{route} {each.get('name', 'body')}{where}")
    assert unlimited == []


def strings_of(schema: dict[str, Any], document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    schema = resolved(schema, document)
    inside = {f".{name}": inner for name, inner in schema.get("properties", {}).items()}
    inside |= {
        f".{name}": schema[name]
        for name in ("items", "additionalProperties")
        if schema.get(name) not in (None, True, False)
    }
    if schema.get("type") == "string":
        yield "", schema
    for name, inner in inside.items():
        for where, spec in strings_of(inner, document):
            yield f"{name}{where}", spec


def test_limits_in_the_document_are_the_settings_of_the_service(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path, max_name_chars=40, max_top_k=7)) as service:
        search = service.get("/openapi.json")["components"]["schemas"]["SearchIn"]["properties"]
        assert (search["namespace"]["maxLength"], search["top_k"]["maximum"]) == (40, 7)
        service.search("cats", namespace="x" * 41, expect=422)
        service.search("cats", top_k=8, expect=422)


def test_a_name_that_no_index_of_postgres_holds_is_refused_on_both(service: Service) -> None:
    """1,024 characters that take 4 bytes each and cannot be compressed."""
    name = "".join(chr(0x20000 + 7919 * number % 40_000) for number in range(1024))
    problem = service.upsert(name, "Cats sleep.", expect=422)
    assert (problem["error"]["param"], "bytes in UTF-8" in problem["detail"]) == ("doc_id", True)
    service.upsert(name[:625], "Cats sleep.")


def test_a_value_that_the_database_refuses_is_refused_for_good(service: Service) -> None:
    """No route lets one through that is known: so the database is asked directly."""
    bad: dict[str, Any] = {"surrogate": "\ud800", "number": 2**70}
    if service.runtime.database.file is None:
        bad |= {"NUL": "\x00", "key": "".join(chr(0x20000 + 7919 * number % 40_000) for number in range(1024))}
    service.upsert("doc", "Cats sleep.")
    for value in bad.values():
        changed = {"revision": value} if isinstance(value, int) else {"doc_id": value}
        with pytest.raises(Unstorable), service.runtime.database.write() as session:
            row = {"team_id": 1, "project_id": 1, "doc_id": "other", "revision": 1, "status": "ready", **changed}
            session.execute(Base.metadata.tables["docs"].insert().values(**row))
    assert service.hit_ids("cats") == ["doc"]


def test_what_an_earlier_version_called_otherwise_can_still_be_read_and_deleted(service: Service) -> None:
    """Names with control characters are not given any more."""
    service.upsert("doc", "Cats sleep.")
    service.upsert("a\nb", "Dogs bark.", expect=422)
    with service.runtime.database.write() as session:
        row = session.scalars(select(Doc)).one()
        values = {column.name: getattr(row, column.name) for column in Doc.__table__.columns}
        session.execute(Base.metadata.tables["docs"].insert().values(**{**values, "doc_id": "a\nb"}))
        for name in ("revisions", "chunks"):
            table = Base.metadata.tables[name]
            [copied] = session.execute(select(table)).mappings()
            number = {"faiss_id": 1000} if name == "chunks" else {}
            session.execute(table.insert().values(**{**copied, "doc_id": "a\nb", **number}))
    [first, second] = [doc["doc_id"] for doc in service.get("/v1/docs", PLACE)["data"]]
    assert {first, second} == {"a\nb", "doc"}
    assert service.doc("a%0Ab")["doc_id"] == "a\nb"
    assert service.delete("a%0Ab")["doc_id"] == "a\nb"
