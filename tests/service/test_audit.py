"""Who changed what: a row per change, in its transaction, in a chain that shows what was tampered with."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update

from domain import Scope
from models import AuditRow, utc_now
from services.index.auditing import record
from tests.support.accounts import keyed, make_team
from tests.support.plans import executed
from tests.support.service import PLACE, Service

__all__ = ["keyed"]


def rows(service: Service, **conditions: Any) -> list[dict[str, Any]]:
    return list(service.get("/v1/audit", conditions)["data"])


def append(service: Service, count: int) -> None:
    with service.runtime.database.write() as session:
        for number in range(count):
            record(session, "test.done", object=f"object {number}", number=number, ratio=0.1, name="ä")


def problems(service: Service) -> list[str]:
    return service.runtime.operations.audit.verify().problems


def test_an_erasure_takes_names_out_of_the_log_and_leaves_its_chain(service: Service) -> None:
    for doc_id in ("secret-doc", "other-doc"):
        service.upsert(doc_id, "Cats sleep.")
        service.delete(doc_id)
    service.post("/v1/erasures", {**PLACE, "doc_ids": ["secret-doc"]}, expect=202)
    service.work()
    listed = rows(service)
    assert "secret-doc" not in str(listed) and "other-doc" in str(listed)
    assert [row["action"] for row in listed if row["object"] == "erased"] == ["document.deleted"]
    assert "erasure.requested" in {row["action"] for row in listed}
    assert problems(service) == []
    for forged in ("0" * 64, "no hash", 7):
        with service.runtime.database.write() as session:
            row = session.scalars(select(AuditRow).where(AuditRow.object == "erased")).one()
            row.details = {"erased": forged}
        assert problems(service) == [f"Row {row.number} was changed: it does not have the hash that it had."]


def test_each_change_is_a_row_and_a_change_that_fails_is_none(service: Service) -> None:
    service.upsert("doc", "Cats sleep.")
    service.delete("doc")
    service.delete("doc", expect=404)
    service.post("/v1/docs/delete", {**PLACE, "whole_namespace": PLACE["namespace"]}, expect=202)
    service.rebuild()
    service.client.patch("/v1/teams/acme", json={"quotas": {"documents": 7}, "system_prompt": "secret wishes"})
    service.client.get("/v1/teams/acme/export", params={"vectors": True}).raise_for_status()
    listed = rows(service)
    assert [row["action"] for row in reversed(listed)] == [
        "process.started",
        "namespace.created",
        "document.deleted",
        "namespace.emptied",
        "index.rebuild_requested",
        "team.changed",
        "tenant.exported",
    ]
    assert {row["actor"] for row in listed[:-1]} == {"anyone"}
    assert listed[0]["details"] == {"with_files": True, "with_vectors": True}
    assert listed[1]["details"] == {"quotas": {"documents": 7}, "system_prompt": "changed"}
    assert listed[4]["object"] == "doc"
    assert listed[4]["tenant_id"] == "acme"
    assert listed[4]["request_id"]
    assert [row["number"] for row in listed] == [7, 6, 5, 4, 3, 2, 1]
    assert problems(service) == []


def test_the_start_says_which_settings_differ_and_hides_secrets(service: Service) -> None:
    with service.restarted(embed_api_key="very-secret", max_top_k=77):
        pass
    [row, *_] = rows(service, action="process.started")
    assert row["details"]["settings"]["MAX_TOP_K"] == "77"
    assert "very-secret" not in str(row)
    assert "EMBED_API_KEY" in row["details"]["settings"]
    assert "MAX_BATCH_DOCS" not in row["details"]["settings"]


def test_keys_are_audited_without_themselves_and_teams_see_their_own_rows(keyed: Service) -> None:
    ours, theirs = make_team(keyed, "ours"), make_team(keyed, "theirs")
    key = ours.post(f"{ours.own}/api-keys", {"name": "site", "scopes": ["search"]}, expect=201)
    rotated = ours.post(f"{ours.own}/api-keys/{key['key_id']}/rotate", {}, expect=201)
    ours.ask("DELETE", f"{ours.own}/api-keys/{rotated['key_id']}", expect=200)
    ours.ask("DELETE", f"{ours.own}/api-keys/{rotated['key_id']}", expect=200)
    data = ours.get("/v1/audit")["data"]
    assert [row["action"] for row in data[:3]] == ["key.revoked", "key.rotated", "key.created"]
    assert data[1]["details"]["replaces"] == key["key_id"]
    assert data[2]["actor"].startswith("key:")
    assert key["key"] not in str(data)
    assert {row["tenant_id"] for row in data} == {"ours"}
    assert ours.get("/v1/audit?tenant_id=theirs")["data"] == []
    assert ours.ask("GET", "/v1/audit", scope=Scope.INGEST).status_code == 403
    everything = theirs.get("/v1/audit", scope=Scope.OPERATOR)["data"]
    assert {row["tenant_id"] for row in everything} == {"ours", "theirs", None}
    named = theirs.get("/v1/audit?tenant_id=ours&action=key.revoked", scope=Scope.OPERATOR)["data"]
    assert [row["object"] for row in named] == [rotated["key_id"]]


def test_the_list_goes_on_behind_its_cursor(service: Service) -> None:
    append(service, 4)
    seen, after = [], dict[str, str]()
    while True:
        page = service.get("/v1/audit", {"limit": 2, **after})
        seen += [row["number"] for row in page["data"]]
        if not page["has_more"]:
            break
        after = {"after": page["next_cursor"]}
    assert seen == [5, 4, 3, 2, 1]
    assert rows(service, since=(utc_now() + timedelta(hours=1)).isoformat()) == []
    service.get("/v1/audit", {"after": "x"}, expect=422)


@pytest.mark.parametrize(
    ("tampering", "expected"),
    [
        ("UPDATE audit_log SET actor = 'nobody' WHERE number = 3", "Row 3 was changed"),
        ("UPDATE audit_log SET details = '{}' WHERE number = 3", "Row 3 was changed"),
        ("DELETE FROM audit_log WHERE number = 3", "Rows 3 to 3 are missing"),
        ("UPDATE audit_log SET previous_hash = hash WHERE number = 3", "Row 3 does not follow"),
    ],
    ids=["actor", "details", "removed", "chain"],
)
def test_a_row_that_was_changed_or_removed_is_found(service: Service, tampering: str, expected: str) -> None:
    append(service, 4)
    assert problems(service) == []
    with service.runtime.database.write() as session:
        session.execute(text(tampering))
    assert any(problem.startswith(expected) for problem in problems(service)), problems(service)


@pytest.mark.parametrize("service", ["postgres"], indirect=True)
def test_a_missing_end_is_found_where_the_head_is_kept(service: Service) -> None:
    append(service, 3)
    with service.runtime.database.write() as session:
        session.execute(text("DELETE FROM audit_log WHERE number = 4"))
    assert "should be number 4" in problems(service)[0]


def test_old_rows_are_pruned_and_the_rest_still_verifies(service: Service) -> None:
    append(service, 5)
    with service.runtime.database.write() as session:
        session.execute(update(AuditRow).where(AuditRow.number <= 3).values(at=utc_now() - timedelta(days=9)))
    audit = service.runtime.operations.audit
    assert audit.prune(keep_days=8) == 3
    assert audit.prune(keep_days=8) == 0
    assert problems(service) == []
    assert audit.prune(keep_days=-1) == 2
    append(service, 1)
    assert [row["number"] for row in rows(service)] == [7, 6]
    assert problems(service) == []


def test_concurrent_changes_make_one_chain(service: Service) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: append(service, 3), range(8)))
    check = service.runtime.operations.audit.verify()
    assert (check.rows, check.last, check.problems) == (25, 25, [])


def test_a_deletion_is_audited_by_one_statement_and_an_upsert_by_none(service: Service) -> None:
    service.upsert("doc", "Cats sleep.")
    with executed() as seen:
        service.upsert("doc", "Dogs sleep.")
    assert not any("audit" in statement for statement in seen.texts)
    with executed() as seen:
        service.delete("doc")
    assert sum("audit" in statement for statement in seen.texts) == 1
