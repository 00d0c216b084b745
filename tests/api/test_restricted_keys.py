"""Keys that see a part of their team's documents, and keys derived from others. test_access.py asks every route."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr

from domain import Scope
from errors import Unauthenticated
from models import utc_now
from services.accounts.authentication import UNKNOWN_KEY, Authenticator
from services.accounts.derived_keys import Claims, KeySigner
from services.accounts.restricting import principal_of
from tests.support.accounts import SECRET, TeamClient, keyed, make_team
from tests.support.service import Service
from text.restriction import Restriction

__all__ = ["keyed"]

HR: dict[str, Any] = {"filters": {"department": {"$in": ["hr", "all"]}}}
WORDS = ["ferry", "harbour", "captain", "anchor", "tide"]


@pytest.fixture
def team(keyed: Service) -> TeamClient:
    team = make_team(keyed, "acme")
    for namespace in ("notes", "boardroom"):
        team.post(f"{team.own}/projects", {"namespace": namespace}, expect=201)
    return team


def store(team: TeamClient, *docs: dict[str, Any], **more: Any) -> None:
    team.post("/v1/docs/upsert/batch", {"docs": [{"namespace": "notes", **doc} for doc in docs], **more})


def doc(doc_id: str, department: str, text: str = "The ferry leaves the harbour.", **more: Any) -> dict[str, Any]:
    return {"doc_id": doc_id, "text": text, "metadata": {"department": department}, **more}


def key_of(team: TeamClient, **limits: Any) -> str:
    return str(team.post(f"{team.own}/api-keys", {"scopes": ["search"], **limits}, expect=201)["key"])


def derived(team: TeamClient, parent: str, *, by: str | None = None, expect: int = 201, **body: Any) -> Any:
    path = f"{team.own}/api-keys/{parent[4:20]}/derive"
    return ask(team, by or parent, "POST", path, json={"expires_in_seconds": 60, **body}, expect=expect)


def ask(team: TeamClient, key: str, method: str, path: str, *, expect: int = 200, **request: Any) -> Any:
    answer = team.service.client.request(method, path, headers={"Authorization": f"Bearer {key}"}, **request)
    assert answer.status_code == expect, answer.text
    return answer.json()


def search(team: TeamClient, key: str, query: str = "When does the ferry leave?", **more: Any) -> Any:
    return ask(team, key, "POST", "/v1/search", json={"namespace": "notes", "query": query, "top_k": 50, **more})


def ids(answer: Any) -> list[str]:
    return sorted({chunk["doc_id"] for chunk in answer["chunks"]})


def test_top_k_stays_full_in_every_mode_and_nothing_else_is_among_it(team: TeamClient) -> None:
    departments = {"board": 30, "hr": 8, "all": 4}
    store(
        team,
        *(
            doc(f"{name}-{number}", name, f"Note {number}: the {WORDS[number % 5]} and the ferry of {name}.")
            for name, count in departments.items()
            for number in range(count)
        ),
    )
    key = key_of(team, **HR)
    modes: list[dict[str, Any]] = [{"mode": mode} for mode in ("dense", "keyword", "hybrid")]
    for more in (*modes, {"queries": WORDS, "mode": "hybrid"}, {"mmr_lambda": 0.5}, {"group_by": "doc"}):
        answer = search(team, key, "The ferry of the board", **{"top_k": 12, **more})
        assert len(answer["chunks"]) == 12, more
        assert not [each for each in ids(answer) if each.startswith("board")], more
    assert ids(search(team, key, filters={"$not": {"department": "hr"}})) == [f"all-{number}" for number in range(4)]
    assert ids(search(team, key, filters={"department": "board"})) == []
    listed = ask(team, key, "GET", "/v1/docs?namespace=notes&count=true&limit=1")
    assert (listed["total"], listed["has_more"], listed["next_cursor"]) == (12, True, "all-0")


def test_a_chunk_is_judged_by_its_own_metadata_and_not_joined_as_context(team: TeamClient) -> None:
    texts = {"first": "all", "second": "board", "third": "hr"}
    chunks = [{"text": f"The {text} ferry.", "metadata": {"department": name}} for text, name in texts.items()]
    store(team, {"doc_id": "ferries", "chunks": chunks, "metadata": {"department": "hr"}})
    key = key_of(team, **HR)
    answer = search(team, key, context=2)
    assert sorted(chunk["text"] for chunk in answer["chunks"]) == ["The first ferry.", "The third ferry."]
    assert "second" not in json.dumps(answer)
    page = ask(team, key, "GET", "/v1/docs/ferries/chunks?namespace=notes&limit=1")
    assert [each["chunk_index"] for each in page["data"]] == [0]
    after = ask(team, key, "GET", f"/v1/docs/ferries/chunks?namespace=notes&after={page['next_cursor']}")
    assert [each["chunk_index"] for each in after["data"]] == [2]


def test_each_revision_is_judged_by_itself(team: TeamClient) -> None:
    store(team, doc("was-hr", "hr"), doc("was-board", "board"))
    store(team, doc("was-hr", "board", "Sunk."), doc("was-board", "hr", "Afloat."), async_mode=True)
    key, chunks = key_of(team, **HR), "/v1/docs/{}/chunks?namespace=notes"
    assert ids(search(team, key)) == ["was-hr"]
    ask(team, key, "GET", chunks.format("was-hr"), expect=404)
    assert ask(team, key, "GET", chunks.format("was-board"))["data"] == []
    team.service.work()
    assert ids(search(team, key)) == ["was-board"]
    assert [each["text"] for each in ask(team, key, "GET", chunks.format("was-board"))["data"]] == ["Afloat."]


def test_hints_speak_of_nothing_that_the_key_does_not_see(team: TeamClient) -> None:
    key = key_of(team, **HR)
    data = {"namespace": "notes", "doc_id": "file", "metadata": '{"department": "board"}'}
    team.ask("POST", "/v1/docs/upload", data=data, files={"file": ("ferry.txt", b"A ferry.")}, expect=200)
    assert [each["message"] for each in search(team, key)["hints"]] == ["Nothing was published in this namespace yet."]
    store(team, doc("minutes", "board", metadata={"department": "board", "salary": 9}))
    store(team, doc("waits", "board"), async_mode=True)
    empty = search(team, key)
    assert ([each["code"] for each in empty["hints"]], empty["index"]) == (["nothing_published"], None)
    store(team, doc("leave", "hr"))
    unknown = search(team, key, filters={"salry": 9})
    assert unknown["hint"] == "No document here has the field 'salry' that filters name."
    assert [each["code"] for each in search(team, key, filters={"salary": 9})["hints"]] == ["unknown_filter_key"]
    assert search(team, key, filters={"department": "hr"})["hints"] == []
    in_namespace = key_of(team, namespaces=["notes"])
    answer = search(team, in_namespace, namespace="boardrom")
    assert "boardroom" not in answer["hint"]
    assert answer == search(team, in_namespace, namespace="boardroom") | {
        "hint": answer["hint"],
        "hints": answer["hints"],
    }
    problem = ask(team, in_namespace, "GET", "/v1/docs/x?namespace=boardroom", expect=404)
    assert problem["detail"].startswith("This tenant has no namespace 'boardroom': check tenant_id")
    assert [each for each in ("Did you mean", "It has") if each in problem["detail"]] == []


def test_scores_do_not_tell_which_words_the_rest_of_the_namespace_has(team: TeamClient) -> None:
    store(team, doc("leave", "hr"), doc("lunch", "all", "The canteen has a harbour view."), doc("minutes", "board"))
    key = key_of(team, **HR)

    def scores(mode: str) -> dict[str, float]:
        chunks = search(team, key, "Which ferry leaves the harbour?", mode=mode)["chunks"]
        return {chunk["doc_id"]: chunk["score"] for chunk in chunks}

    before = scores("keyword"), scores("hybrid")
    assert before[0].keys() == {"leave", "lunch"}
    store(team, doc("minutes", "board", "A shipwreck ferry ferry ferry was discussed for a very long time."))
    assert (scores("keyword"), scores("hybrid")) == before


def test_an_evaluation_measures_what_the_key_sees(team: TeamClient) -> None:
    store(team, doc("leave", "hr"), doc("minutes", "board"))
    body = {"namespace": "notes", "queries": {"q": "ferry"}, "qrels": {"q": {"leave": 1, "minutes": 1, "nobody": 1}}}
    report = ask(team, key_of(team, **HR), "POST", "/v1/eval", json=body)
    assert (report["unknown_docs"], report["index"]) == (2, None)
    assert team.post("/v1/eval", body)["unknown_docs"] == 1
    only_hidden = {**body, "qrels": {"q": {"minutes": 1}}}
    refused = ask(team, key_of(team, **HR), "POST", "/v1/eval", json=only_hidden, expect=422)
    assert refused["detail"].startswith("None of the 1 judged documents is in this namespace")


def test_an_answer_is_written_from_what_the_key_sees(team: TeamClient) -> None:
    store(team, doc("leave", "hr", "The ferry leaves at noon."), doc("minutes", "board", "The ferry leaves at dawn."))
    body = {"namespace": "notes", "question": "When does the ferry leave?", "min_score": 0}
    answer = ask(team, key_of(team, **HR), "POST", "/v1/ask", json=body)
    assert [each["doc_id"] for each in answer["citations"]] == ["leave"]
    assert "dawn" not in json.dumps(answer)


BAD_FILTERS = [{"year": {"$near": 1}}, {"$and": []}, ["department"], {"a": {"$in": 1}}, {"created_at": {"$gt": "soon"}}]


def test_a_malformed_filter_is_refused_as_in_a_search(team: TeamClient) -> None:
    def problem(path: str, body: dict[str, Any]) -> tuple[str, str]:
        refused = team.post(path, body, expect=422)
        return refused["detail"], refused["error"]["param"]

    for filters in BAD_FILTERS:
        searched = problem("/v1/search", {"namespace": "notes", "query": "ferry", "filters": filters})
        assert problem(f"{team.own}/api-keys", {"scopes": ["search"], "filters": filters}) == searched
        assert problem(f"{team.own}/api-keys/none/derive", {"expires_in_seconds": 9, "filters": filters}) == searched


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"scopes": ["admin"], **HR}, 422, "only reads, so it cannot have the scope admin"),
        ({"scopes": ["ingest", "search"], "namespaces": ["notes"]}, 422, "cannot have the scope ingest"),
        ({"scopes": ["search"], "namespaces": []}, 422, "at least 1 item"),
        ({"scopes": ["search"], "namespaces": ["nots"]}, 404, "has no namespace 'nots'"),
        ({"scopes": ["search"], "filters": {"page": 3}}, 422, "page is a field of chunks"),
        ({"scopes": ["search"], "filters": {"a": {"$in": ["x" * 100] * 200}}}, 422, "takes at most 16384"),
    ],
)
def test_a_key_that_would_be_wrong_is_refused(team: TeamClient, body: dict[str, Any], status: int, reason: str) -> None:
    assert reason in team.post(f"{team.own}/api-keys", body, expect=status)["detail"]


def test_limits_are_listed_rotated_and_audited_and_unknown_fields_are_allowed(team: TeamClient) -> None:
    limits = {"filters": {"nobody has this": 1}, "namespaces": ["notes"]}
    issued = team.post(f"{team.own}/api-keys", {"scopes": ["search"], **limits}, expect=201)
    rotated = team.post(f"{team.own}/api-keys/{issued['key_id']}/rotate", {}, expect=201)
    for each in (issued, rotated, rotated["replaces"]):
        assert {name: each[name] for name in limits} == limits
    store(team, doc("leave", "hr"))
    assert ids(search(team, rotated["key"])) == []
    plain = team.post(f"{team.own}/api-keys", {"scopes": ["search"], "filters": {}}, expect=201)
    assert (plain["filters"], plain["namespaces"]) == (None, None)
    created = team.get("/v1/audit?action=key.created&limit=2")["data"]
    assert [each["details"].get("is_restricted", False) for each in created] == [False, True]


def test_an_erased_namespace_is_forgotten_by_the_keys_that_saw_it(team: TeamClient) -> None:
    key = key_of(team, namespaces=["notes", "boardroom"])
    path = f"{team.own}/projects/notes"
    team.ask("DELETE", path, json={"confirm_namespace": "notes"}, expect=202)
    [row] = [each for each in team.get(f"{team.own}/api-keys")["data"] if each["key_id"] == key[4:20]]
    assert row["namespaces"] == ["boardroom"]


def test_a_derived_key_sees_and_may_less_than_the_one_that_it_comes_from(team: TeamClient) -> None:
    store(team, doc("leave", "hr"), doc("lunch", "all"), doc("minutes", "board"))
    parent = key_of(team, **HR)
    child = derived(team, parent, filters={"department": {"$in": ["all", "board"]}}, namespaces=["notes"])
    assert (child["key_id"], child["scopes"], child["namespaces"]) == (parent[4:20], ["search"], ["notes"])
    assert len(child["key"]) < 4096
    assert ids(search(team, child["key"])) == ["lunch"]
    ask(team, child["key"], "GET", "/v1/docs/minutes?namespace=notes", expect=404)
    assert search(team, child["key"], namespace="boardroom")["index"] is None
    restriction = Restriction(namespaces=frozenset(["notes"]))
    assert principal_of(frozenset(Scope), ("acme", 1), "a key", restriction).scopes == {Scope.SEARCH}
    service = key_of(team, scopes=["ingest", "search"])
    for scopes, expected in ((None, ["ingest", "search"]), (["ingest"], ["ingest"])):
        assert derived(team, service, scopes=scopes)["scopes"] == expected
    both = derived(team, service, by=team.keys[Scope.ADMIN], **HR)
    assert both["scopes"] == ["search"]
    assert ids(search(team, both["key"])) == ["leave", "lunch"]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"expires_in_seconds": 0}, 422, "greater than or equal to 1"),
        ({"expires_in_seconds": -1}, 422, "greater than or equal to 1"),
        ({"expires_in_seconds": 86_401}, 422, "less than or equal to 86400"),
        ({"scopes": ["ingest"]}, 403, "cannot have the scope ingest"),
        ({"scopes": ["admin"]}, 403, "cannot have the scope admin"),
        ({"namespaces": ["boardroom"]}, 404, "has no namespace 'boardroom'"),
        ({"filters": {"user": {"$in": [f"user number {number}" for number in range(300)]}}}, 422, "at most 4096"),
    ],
)
def test_a_derived_key_that_would_be_wrong_is_refused(
    team: TeamClient, body: dict[str, Any], status: int, reason: str
) -> None:
    parent = key_of(team, namespaces=["notes"])
    assert reason in derived(team, parent, expect=status, **body)["detail"]


def test_only_the_key_itself_and_admins_derive_from_it(team: TeamClient) -> None:
    parent, other = key_of(team), key_of(team)
    derived(team, parent, by=team.keys[Scope.ADMIN])
    assert derived(team, parent, by=other, expect=404)["detail"] == f"There is no key {parent[4:20]!r} in this team."
    child = derived(team, parent)["key"]
    assert "cannot derive another" in derived(team, parent, by=child, expect=403)["detail"]
    team.ask("DELETE", f"{team.own}/api-keys/{other[4:20]}", expect=200)
    assert "is revoked" in derived(team, other, by=team.keys[Scope.ADMIN], expect=409)["detail"]
    with team.service.restarted(derived_key_secret=SecretStr("")) as without:
        client = TeamClient(without, team.name, team.keys)
        assert "DERIVED_KEY_SECRET" in derived(client, parent, expect=409)["detail"]
        assert ask(client, child, "GET", "/v1/docs?namespace=notes", expect=401)["detail"] == UNKNOWN_KEY


def test_a_derived_key_ends_with_the_one_that_it_comes_from(team: TeamClient) -> None:
    ends_at = (utc_now() + timedelta(seconds=30)).replace(microsecond=0)
    parent = key_of(team, expires_at=ends_at.isoformat())
    child = derived(team, parent, expires_in_seconds=3600)
    assert child["expires_at"] == ends_at.isoformat().replace("+00:00", "Z")
    search(team, child["key"])
    team.ask("DELETE", f"{team.own}/api-keys/{parent[4:20]}", expect=200)
    assert "is revoked" in ask(team, child["key"], "GET", "/v1/docs?namespace=notes", expect=401)["detail"]


def test_a_derived_key_that_was_changed_or_has_expired_is_an_unknown_one(team: TeamClient) -> None:
    keys = team.service.runtime.accounts
    parent = key_of(team, namespaces=["notes"])
    child = derived(team, parent, **HR)["key"]
    head, claims, signature = child.split(".")
    other = key_of(team)
    in_a_minute = utc_now() + timedelta(seconds=61)
    claimed = Claims(scopes=frozenset(Scope), ends_at=in_a_minute, filters=None, namespaces=None)
    wrong = {
        "claims": f"{head}.{claims[:-1]}{'A' if claims[-1] != 'A' else 'Q'}.{signature}",
        "signature": f"{head}.{claims}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        "short": f"{head}.{claims}.{signature[:-1]}",
        "parent": f"{other[:20]}.{claims}.{signature}",
        "secret": KeySigner("another secret of the same length").sign(parent[4:20], claimed),
        "nobody": f"adf_{'0' * 16}.{claims}.{signature}",
    }
    for name, key in wrong.items():
        for _ in range(2):  # looked up, and from the cache
            answer = ask(team, key, "GET", "/v1/docs?namespace=notes", expect=401)
            assert answer["detail"] == UNKNOWN_KEY, name
    now: Any
    for now, is_accepted in ((utc_now(), True), (in_a_minute, False)):
        then = Authenticator(keys.keys.database, trust_seconds=60, signer=KeySigner(SECRET), now=partial(max, now, now))
        assert then.look_up(parent).key_id == parent[4:20]
        assert (then.cached(child) is not None) == is_accepted
        if not is_accepted:
            with pytest.raises(Unauthenticated, match="issued no such API key"):
                then.look_up(child)


def test_a_derived_key_costs_no_query_and_counts_for_its_parent(team: TeamClient) -> None:
    parent = key_of(team)
    child = derived(team, parent, **HR)["key"]
    authentication = team.service.runtime.accounts.authentication
    authentication.look_up(parent)
    caller = authentication.cached(child)
    assert caller is not None
    assert (caller.key_id, caller.is_derived, caller.scopes) == (parent[4:20], True, frozenset({Scope.SEARCH}))
    store(team, doc("leave", "hr"))
    writer = key_of(team, scopes=["ingest", "search"])
    ask(team, derived(team, writer)["key"], "DELETE", "/v1/docs/leave?namespace=notes")
    [deletion] = team.get("/v1/audit?action=document.deleted")["data"]
    assert deletion["actor"] == f"key:{writer[4:20]}"
    authentication.write_uses()
    [row] = [each for each in team.get(f"{team.own}/api-keys")["data"] if each["key_id"] == parent[4:20]]
    assert row["last_used_at"] is not None
