"""The console without a browser: sessions, tokens, what a page may load, and what its screens do."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from api.console.admission import is_local
from domain import ANYONE, Scope, with_included
from errors import Unauthenticated
from models import utc_now
from services.accounts.sessions import SESSION_SECONDS, SessionService
from tests.support import files
from tests.support.accounts import TeamClient, issue, keyed, make_team
from tests.support.console import Visitor, reads, writes
from tests.support.service import Service, open_service, settings_in
from web import STATIC, TEMPLATES

__all__ = ["keyed"]

PLACE: dict[str, Any] = {"tenant_id": "acme", "namespace": "ships"}
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7919*7907 }}"
FILLED = {"query": "cats", "name": "x", "scope-search": "1"}

one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what depends on no database."""


@pytest.fixture
def team(keyed: Service) -> TeamClient:
    team = make_team(keyed, "acme")
    team.post(f"{team.own}/projects", {"namespace": "ships"}, expect=201)
    return team


@pytest.fixture
def visitor(team: TeamClient) -> Visitor:
    return Visitor.with_key(team.service, team.keys[Scope.OPERATOR])


@one_database
def test_a_key_signs_in_and_out_with_a_cookie_that_scripts_and_other_sites_never_get(team: TeamClient) -> None:
    visitor = Visitor(team.service)
    sent_to = visitor.get("/console/jobs?status=failed", expect=303).headers["location"]
    assert sent_to == "/console/sign-in?next=%2Fconsole%2Fjobs%3Fstatus%3Dfailed"
    assert 'name="next" value="/console/jobs?status=failed"' in visitor.get(sent_to).text
    answer = visitor.post("/console/sign-in", key=team.keys[Scope.SEARCH], next="/console/playground?namespace=n")
    assert answer.headers["location"] == "/console/playground?namespace=n"
    given = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/console"} <= set(given.split("; "))
    assert team.keys[Scope.SEARCH].rpartition("_")[2] not in given
    assert 'href="/console/playground' in visitor.get("/console").text
    assert visitor.post("/console/sign-out").headers["location"] == "/console/sign-in"
    assert visitor.get("/console", expect=303).headers["location"].startswith("/console/sign-in")


@one_database
@pytest.mark.parametrize("place", ["https://evil.example/", "//evil.example", "/docs", "/console\\evil", "/consoled"])
def test_a_sign_in_leads_nowhere_but_into_the_console(place: str, team: TeamClient) -> None:
    visitor = Visitor(team.service)
    answer = visitor.post("/console/sign-in", key=team.keys[Scope.SEARCH], next=place)
    assert answer.headers["location"] == "/console"


def test_a_wrong_key_is_refused_and_counted_like_one_of_the_api(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, auth_mode="keys", auth_failures_per_minute=3)
    with open_service(settings) as service:
        visitor = Visitor(service)
        answer = visitor.post("/console/sign-in", key="adf_wrong", expect=401)
        assert "This is no API key" in answer.text and "adf_wrong" not in answer.text
        statuses = [visitor.post("/console/sign-in", key="adf_wrong", expect=None).status_code for _ in range(3)]
        assert statuses == [401, 401, 429]
        assert Visitor(service, "0123456789abcdef.9999999999.AAAA").get("/console", expect=429)


def test_a_session_is_known_to_every_process_and_ends_in_all_of_them_with_its_key(team: TeamClient) -> None:
    service = team.service
    key = issue(service, "acme", Scope.ADMIN)
    visitor = Visitor.with_key(service, key)
    with service.restarted() as other:
        elsewhere = Visitor(other, visitor.cookie)
        assert visitor.get("/console") and elsewhere.get("/console")
        service.runtime.accounts.keys.revoke("acme", key.split("_")[1], by=ANYONE)
        for each in (visitor, elsewhere):
            assert each.get("/console", expect=303).headers["location"].startswith("/console/sign-in")
    polling = Visitor(service, visitor.cookie, {"HX-Request": "true"}).get("/console/jobs", expect=401)
    assert polling.headers["hx-redirect"].startswith("/console/sign-in")


@one_database
def test_a_session_ends_by_itself_and_none_can_be_made_or_changed_without_the_key(team: TeamClient) -> None:
    accounts = team.service.runtime.accounts
    session = accounts.sessions.begin(team.keys[Scope.SEARCH])
    assert accounts.sessions.principal(session).scopes == {Scope.SEARCH}
    later = SessionService(
        accounts.sessions.database, accounts.authentication, lambda: utc_now() + timedelta(seconds=SESSION_SECONDS + 1)
    )
    key_id, end, sealed = session.split(".")
    others = accounts.sessions.begin(team.keys[Scope.ADMIN]).split(".")
    forged = [
        f"{key_id}.{int(end) + 1}.{sealed}",
        f"{others[0]}.{end}.{sealed}",
        f"{key_id}.{end}.{others[2]}",
        f"{key_id}.{end}.{sealed[:-8]}AAAAAAA=",
        f"{key_id}.{end}.",
        f"0000000000000000.{end}.{sealed}",
        f"{key_id}.soon.{sealed}",
        f"{key_id}.{end}.\u00e9",
        team.keys[Scope.SEARCH],
        "",
    ]
    for sessions, each in [(later, session), *((accounts.sessions, each) for each in forged)]:
        with pytest.raises(Unauthenticated):
            sessions.principal(each)


@one_database
def test_every_screen_opens_to_the_scopes_that_it_needs_and_to_no_other(team: TeamClient) -> None:
    for route in [*reads(), *writes()]:
        for scope in Scope:
            visitor = Visitor.with_key(team.service, team.keys[scope])
            answer = _called(visitor, route, PLACE)
            may = not route.any_of or bool(with_included([scope]) & set(route.any_of))
            assert (answer.status_code != 403) == may, f"{route.path} with {scope}: {answer.text}"
            assert answer.status_code != 500, f"{route.path} with {scope}: {answer.text}"


def test_no_write_works_without_the_token_of_its_session(team: TeamClient, visitor: Visitor) -> None:
    service = team.service
    team.post("/v1/docs/upsert", {**PLACE, "doc_id": "d", "text": "Ships."})
    job_id = (
        team.get("/v1/jobs", params=PLACE)["data"][:1]
        or team.post(
            "/v1/docs/upsert/batch", {"docs": [{**PLACE, "doc_id": "later", "text": "Later."}], "async_mode": True}
        )["job_id"]
    )
    known = {**PLACE, "doc_id": "d", "job_id": job_id, "key_id": team.keys[Scope.SEARCH].split("_")[1]}
    before = _state(team)
    other = Visitor.with_key(service, team.keys[Scope.OPERATOR])
    assert len(writes()) >= 12
    for route in writes():
        for token in ("none", "0" * 64, other.token()):
            answer = _called(visitor, route, known, token=token)
            assert answer.status_code == 403 and "not of your session" in answer.text, f"{route.path}: {answer.text}"
        foreign = Visitor(service, visitor.cookie, {"Sec-Fetch-Site": "cross-site"})
        assert _called(foreign, route, known, token=visitor.token()).status_code == 403
    assert _state(team) == before
    assert not list((Path(service.settings.blob_store_url.removeprefix("file://"))).rglob("*.*"))


@one_database
def test_no_page_runs_or_loads_what_does_not_come_from_here(visitor: Visitor) -> None:
    for route in reads():
        answer = _called(visitor, route, {**PLACE, "job_id": "nix", "erasure_id": "nix"})
        if answer.status_code == 303:
            continue
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store" and answer.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"<style|<script(?! defer src=)| style=| on\w+=", answer.text), route.path
        loaded = re.findall(r'(?:src|href)="([^"]*)"', answer.text)
        assert loaded and all(each.startswith(("/", "#")) for each in loaded), route.path
    assets = [each for each in re.findall(r'(?:src|href)="([^"]*static[^"]*)"', visitor.get("/console").text)]
    assert len(assets) == 4 and all(visitor.get(each) for each in assets)


def test_nothing_in_a_template_turns_the_escaping_off() -> None:
    texts = [each.read_text() for each in TEMPLATES.glob("*.html")]
    assert len(texts) > 10
    assert not [text for text in texts if re.search(r"\|\s*safe|autoescape|Markup|\|\s*xmlattr", text)]


def test_each_vendored_file_is_the_one_that_its_manifest_names_and_all_are_small() -> None:
    folder = STATIC / "vendor"
    manifest = json.loads((folder / "manifest.json").read_text())
    known = {"manifest.json", *manifest, *(each["licence_file"] for each in manifest.values())}
    assert {each.name for each in folder.iterdir()} == known
    for name, each in manifest.items():
        content = (folder / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == each["sha256"], name
        assert each["version"] in name and each["licence"] and each["package"]
    assert sum(each.stat().st_size for each in folder.iterdir()) < 400_000


def test_what_documents_names_and_questions_say_shows_as_text_on_every_screen(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path, console="on")) as service:
        visitor = Visitor(service)
        place: dict[str, Any] = {"tenant_id": HOSTILE, "namespace": HOSTILE}
        known = {**place, **_filled_with(HOSTILE, service, place)}
        pages = [_called(visitor, route, known) for route in reads()]
        hits = visitor.post("/console/playground", **place, query=HOSTILE, dense="1", keyword="1", expect=200)
        cited = visitor.post("/console/playground", **place, query="script alert", ask="1", expect=200)
        refused = visitor.post("/console/playground", **place, query="q", filters=HOSTILE, expect=422)
        unknown = visitor.get("/console/document", **place, doc_id=f"no {HOSTILE}", expect=404)
        nowhere = visitor.get(f"/console/{HOSTILE}", expect=404)
        showing = 0
        for answer in (*pages, hits, cited, refused, unknown, nowhere):
            assert not re.search(r"<script>|<img|onerror=alert\(2\)>", answer.text), answer.url
            assert str(7919 * 7907) not in answer.text, answer.url
            showing += "&lt;script&gt;alert(1)" in answer.text
        assert showing >= 12


def _filled_with(text: str, service: Service, place: dict[str, str]) -> dict[str, str]:
    """Everything that a caller may choose, of that text; and a job that fails because of it."""
    doc = {**place, "doc_id": text, "title": text, "text": f"# {text}\n\n{text} " * 20, "metadata": {text: text}}
    service.post("/v1/docs/upsert", {**doc, "chunk_strategy": "markdown"})
    form = {**place, "doc_id": f"file {text}", "title": text}
    sent = service.client.post("/v1/docs/upload", data=form, files={"file": (f"{text}.pdf", b"%PDF-1.4 nothing")})
    service.post("/v1/index/versions", {**place, "name": "hostile", "prompts": {"document": text}}, expect=202)
    erased = service.post("/v1/erasures", {**place, "doc_ids": [f"no {text}"], "reason": text}, expect=202)
    service.work()
    service.runtime.operations.workers.beat(text, doing=text)
    return {"doc_id": text, "job_id": sent.json()["job_id"], "erasure_id": erased["erasure_id"]}


def test_a_file_is_uploaded_worked_on_found_retried_and_deleted(visitor: Visitor, team: TeamClient) -> None:
    service = team.service
    place: dict[str, Any] = {"namespace": "ships"}
    sent = visitor.post("/console/documents/upload", **place, title="", file=("harbour.pdf", files.pdf()))
    job = sent.headers["location"].partition("?")[0]
    waiting = visitor.get(job).text
    assert "It waits for a worker" in waiting and 'hx-trigger="every 1s"' in waiting
    assert "uploaded" in visitor.get("/console/documents", **place).text
    service.work()
    done = visitor.get(job).text
    assert "completed" in done and "hx-trigger" not in done
    [doc_id] = [each["doc_id"] for each in team.get("/v1/docs", params=place)["data"]]
    shown = visitor.get("/console/document", **place, doc_id=doc_id).text
    assert "p. 1" in shown and 'id="chunk-0"' in shown and "application/pdf" in shown
    assert doc_id in visitor.get("/console/documents", **place, find="HARBOUR").text
    assert doc_id in visitor.get("/console/documents", **place, find=doc_id).text
    assert "No document is like that" in visitor.get("/console/documents", **place, find="nowhere").text
    failed = visitor.post("/console/documents/upload", **place, file=("broken.pdf", b"%PDF-1.4 x")).headers["location"]
    service.work()
    page = visitor.get(failed.partition("?")[0]).text
    assert "It is damaged, or not a PDF" in page and "Retry what failed" in page
    assert "It is damaged" in visitor.get("/console").text
    again = visitor.post(f"{failed.partition('?')[0]}/retry").headers["location"]
    assert "It waits for a worker" in visitor.get(again).text
    visitor.post(f"{again}/cancel")
    assert "cancelled" in visitor.get(again).text
    visitor.post("/console/document/delete", **place, doc_id=doc_id)
    assert visitor.get("/console/document", **place, doc_id=doc_id, expect=404)
    erasure = visitor.post("/console/document/erase", **place, doc_id=doc_id).headers["location"]
    assert "There is a receipt once everything is erased" in visitor.get(erasure).text
    service.work()
    assert "signature" in visitor.get(erasure).text


def test_a_document_shows_its_revisions_with_what_an_edit_added_and_its_chunks_page_by_page(
    visitor: Visitor, team: TeamClient
) -> None:
    place: dict[str, Any] = {"namespace": "ships", "doc_id": "d"}
    paragraphs = [
        f"Paragraph {number} is about ship {number} and its crew of {number + 7}. " * 12 for number in range(60)
    ]
    team.post("/v1/docs/upsert", {**place, "text": "\n\n".join(paragraphs)})
    team.post("/v1/docs/upsert", {**place, "text": "\n\n".join([*paragraphs, "And one more."])})
    newer, older = team.service.runtime.ingest.browsing.revisions("acme", "ships", "d", limit=10)
    assert (newer.revision, newer.status, older.status) == (2, "live", "retired")
    assert older.new_chunks == older.chunk_count > 50
    assert newer.new_chunks is not None and 1 <= newer.new_chunks <= 2
    first = visitor.get("/console/document", **place).text
    assert 'id="chunk-49"' in first and 'id="chunk-50"' not in first
    [onward] = re.findall(r'rel="next" href="([^"#]*)', first)
    second = visitor.get(onward.replace("&amp;", "&")).text
    assert 'id="chunk-50"' in second and 'id="chunk-49"' not in second and 'rel="prev"' in second


@one_database
def test_the_text_of_chunks_that_overlap_is_shown_once(visitor: Visitor, team: TeamClient) -> None:
    text = " ".join(f"Sentence {number} of the tale of the sea." for number in range(80))
    team.post("/v1/docs/upsert", {"namespace": "ships", "doc_id": "d", "text": text, "chunk_overlap": 60})
    page = visitor.get("/console/document", namespace="ships", doc_id="d").text
    assert page.count('class="repeated"') >= 3
    cuts = re.findall(r'<p class="cut">(?:<span class="repeated"[^>]*>[^<]*</span>)?([^<]*)</p>', page)
    assert re.sub(r"\s+", "", "".join(cuts)) == re.sub(r"\s+", "", text)


@one_database
def test_the_playground_shows_each_side_and_its_curl_line_and_answers_with_citations(
    visitor: Visitor, team: TeamClient
) -> None:
    place: dict[str, Any] = {"namespace": "ships"}
    for number, language in enumerate(("en", "de")):
        text = f"Ships sail the seven seas. Fleet {number}."
        team.post("/v1/docs/upsert", {**place, "doc_id": f"d{number}", "text": text, "metadata": {"lang": language}})
    both = visitor.post("/console/playground", **place, query="Who goes to sea?", dense="1", hybrid="1", expect=200)
    assert re.findall(r'id="mode-(\w+)"', both.text) == ["dense", "hybrid"]
    assert "dense #1" in both.text and "Authorization: Bearer $KEY" in both.text
    added = json.dumps({"lang": "de"}, indent=2)
    assert added.replace('"', "&#34;") in both.text
    one = visitor.post("/console/playground", **place, query="Who goes to sea?", dense="1", add=added, expect=200).text
    assert "doc_id=d1" in one and "doc_id=d0" not in one
    answer = visitor.post("/console/playground", **place, query="Who sails the seven seas?", ask="1", expect=200).text
    assert re.search(r'href="/console/document\?[^"]*doc_id=d\d[^"]*#chunk-0">\[1\]', answer)
    assert "top_k" in visitor.post("/console/playground", **place, query="q", top_k="many", expect=422).text


@one_database
def test_a_key_is_made_shown_once_and_revoked_and_its_session_ends(visitor: Visitor, team: TeamClient) -> None:
    fields: dict[str, Any] = {"name": "for the harbour", "days": "3", "scope-admin": "1"}
    answer = visitor.post("/console/keys", **fields, expect=200)
    [key] = re.findall(r"adf_[0-9a-f]{16}_[0-9a-f]{64}", answer.text)
    assert answer.headers["cache-control"] == "no-store"
    listed = visitor.get("/console/keys").text
    assert "for the harbour" in listed and key not in listed
    own = Visitor.with_key(team.service, key)
    assert "this session" in own.get("/console/keys").text
    assert "scope operator" in own.post("/console/keys", expect=403, **_ticked("operator")).text
    own.post("/console/keys/revoke", key_id=key.split("_")[1])
    assert own.get("/console/keys", expect=303).headers["location"].startswith("/console/sign-in")
    assert "key.revoked" in visitor.get("/console/audit").text


@one_database
def test_a_version_is_built_activated_and_rolled_back(visitor: Visitor, team: TeamClient) -> None:
    place: dict[str, Any] = {"namespace": "ships"}
    team.post("/v1/docs/upsert", {**place, "doc_id": "d", "text": "Ships sail."})
    visitor.post("/console/versions", **place, name="prompted", document_prompt="passage: ")
    team.service.work()
    page = visitor.get("/console/versions", **place).text
    assert "prompted" in page and "Activate" in page
    visitor.post("/console/versions/activate", **place, index_version="prompted", expected_active="initial")
    assert team.get("/v1/index/versions", params=place)["active"] == "prompted"
    assert visitor.post(
        "/console/versions/activate", **place, index_version="initial", expected_active="initial", expect=409
    )
    visitor.post("/console/versions/rollback", **place, expected_active="prompted")
    assert team.get("/v1/index/versions", params=place)["active"] == "initial"


@one_database
@pytest.mark.parametrize("name", ["%00", "%20", "n" * 5000, "%ff", "%E2%80%AE"])
def test_a_name_that_nothing_can_have_is_a_page_that_says_so(name: str, visitor: Visitor) -> None:
    for path in ("/console", "/console/documents", "/console/jobs", "/console/playground"):
        for field in ("namespace", "tenant_id"):
            answer = visitor.get(f"{path}?{field}={name}", expect=None)
            assert answer.status_code in (200, 404, 422) and answer.headers["content-type"].startswith("text/html")
    assert visitor.get(f"/console/jobs/{name}", expect=None).headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_no_value_of_any_parameter_of_the_console_is_an_error_of_the_service(visitor: Visitor) -> None:
    """Postgres takes the fewest values."""
    names = ("after", "status", "find", "order", "doc_id", "from", "action", "next")
    for route in reads():
        path = route.path.format(job_id="%00", erasure_id="%00")
        for name in names:
            for value in ("\x00", "9" * 40, "\u202e'"):
                answer = visitor.get(path, expect=None, **{"namespace": "ships", name: value})
                assert answer.status_code < 500, f"{path}, {name}={value!r}: {answer.text}"


@pytest.mark.parametrize(("mode", "status"), [("auto", 403), ("on", 200), ("off", 404)])
def test_without_keys_the_console_is_for_callers_on_this_machine_unless_it_is_on(
    mode: str, status: int, tmp_path: Path
) -> None:
    with open_service(settings_in(tmp_path, console=mode)) as service:
        for route in reads():
            if route.path not in ("/console/sign-in", "/console/versions"):
                answer = _called(Visitor(service), route, {**PLACE, "doc_id": "nix"})
                assert answer.status_code in ({status} if status != 200 else {200, 404}), route.path
        assert _called(Visitor(service), writes()[0], {"job_id": "nix"}).status_code in (403, 404)
    if mode == "off":
        with open_service(settings_in(tmp_path, console=mode, auth_mode="keys")) as service:
            assert Visitor(service).get("/console", expect=404)


def test_without_keys_a_tenants_rate_limit_holds_in_the_console_too(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path, console="on", rate_limit_per_tenant="2/minute")) as service:
        visitor = Visitor(service)
        token = visitor.token()
        statuses = [visitor.get("/console/jobs", **PLACE, expect=None).status_code for _ in range(2)]
        written = visitor.post("/console/documents/upload", **PLACE, token=token, file=("a.txt", b"A."), expect=None)
        assert (statuses, written.status_code) == ([200, 200], 429)
        assert visitor.get("/console/jobs", tenant_id="another")


@pytest.mark.parametrize(
    ("client", "host", "expected"),
    [
        ("127.0.0.1", "localhost:8000", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "[::1]:8000", True),
        ("127.0.0.1", "evil.example", False),
        ("127.0.0.1", "localhost.evil.example", False),
        ("10.0.0.7", "localhost", False),
        ("10.0.0.7", "10.0.0.1", False),
        (None, "localhost", False),
        ("127.0.0.1", "", False),
    ],
)
def test_who_is_on_this_machine(client: str | None, host: str, *, expected: bool) -> None:
    scope = {"type": "http", "path": "/console", "scheme": "http", "query_string": b"", "server": ("10.0.0.1", 80)}
    headers = [(b"host", host.encode())]
    assert is_local(Request({**scope, "headers": headers, "client": client and (client, 1)})) is expected


def test_the_lists_read_no_more_rows_the_more_there_are(visitor: Visitor, team: TeamClient) -> None:
    place: dict[str, Any] = {"namespace": "ships"}
    docs = [{**place, "doc_id": f"d{number:03}", "text": "Ships."} for number in range(120)]
    team.post("/v1/docs/upsert/batch", {"docs": docs})
    seen: list[str] = []
    address: str | None = "/console/documents?namespace=ships&order=doc_id"
    while address:
        page = visitor.get(address).text
        shown = re.findall(r"doc_id=(d\d{3})", page)
        assert len(shown) <= 50
        seen += shown
        onward = re.search(r'rel="next" href="([^"]*)"', page)
        address = onward[1].replace("&amp;", "&") if onward else None
    assert seen == [each["doc_id"] for each in docs]


def _called(visitor: Visitor, route: Any, known: dict[str, Any], *, token: str | None = None) -> Any:
    names = {"job_id": "nix", "erasure_id": "nix", **known}
    path = route.path.format(**names)
    if "GET" in route.methods:
        return visitor.get(path, expect=None, **{name: known[name] for name in known.keys() & GIVEN})
    more = {"token": token} if token else {}
    file = ("cats.txt", b"Cats.") if route.path.endswith("/upload") else None
    return visitor.post(path, expect=None, file=file, **{**FILLED, **known, **more})


def _ticked(scope: str) -> dict[str, Any]:
    return {f"scope-{scope}": "1"}


GIVEN = {"tenant_id", "namespace", "doc_id"}


def _state(team: TeamClient) -> list[str]:
    addresses = ("/v1/docs", "/v1/jobs", "/v1/index/versions", f"{team.own}/api-keys")
    texts = [team.ask("GET", address, params=PLACE if "teams" not in address else None).text for address in addresses]
    return [re.sub(r'"last_used_at":(?:null|"[^"]*")', "", text) for text in texts]
