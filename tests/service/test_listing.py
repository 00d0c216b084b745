"""Lists of documents: status, title, filters, orders with their cursors, and counts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select, update

from models import Doc
from services.ingest import listing
from tests.support.service import PLACE, Service

TITLES = {"a": "Straße der Schiffe", "b": "STRASSE", "c": "Cats", "d": None, "e": "The Cat"}


def listed(service: Service, **params: Any) -> list[str]:
    """All doc_ids of the list, in pages of two, which must not overlap."""
    doc_ids: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = service.get("/v1/docs", {**PLACE, "limit": 2, **params, **after})
        doc_ids += [each["doc_id"] for each in page["data"]]
        assert page["has_more"] == (page["next_cursor"] is not None)
        if not page["has_more"]:
            return doc_ids
        after = {"after": page["next_cursor"]}


def furnish(service: Service) -> None:
    for number, (doc_id, title) in enumerate(TITLES.items()):
        service.upsert(doc_id, f"Text {doc_id}.", title=title, metadata={"year": 2018 + number, "tags": ["x", doc_id]})


def test_documents_are_listed_by_status_title_and_filter_in_any_order_and_counted(service: Service) -> None:
    furnish(service)
    service.upsert("b", "Text b, edited.", title=TITLES["b"], metadata={"year": 2019})
    service.batch({"f": "Waits."}, async_mode=True)
    service.delete("c")
    assert listed(service) == ["a", "b", "d", "e", "f"]
    assert listed(service, order="updated_at") == ["a", "d", "e", "b", "f"]
    assert listed(service, order="-updated_at") == ["f", "b", "e", "d", "a"]
    assert listed(service, status="ready", order="-updated_at") == ["b", "e", "d", "a"]
    assert (listed(service, status="processing"), listed(service, status="failed")) == (["f"], [])
    assert (listed(service, title="strasse"), listed(service, title="CAT")) == (["a", "b"], ["e"])
    year = json.dumps({"year": {"$gte": 2019}})
    assert listed(service, filters=year, order="-updated_at") == ["b", "e", "d"]
    assert listed(service, filters=json.dumps({"year": {"$ne": 2019}}), status="ready") == ["a", "d", "e"]
    for params, total in (({}, 5), ({"status": "processing"}, 1), ({"filters": year}, 3), ({"title": "cat"}, 1)):
        page = service.get("/v1/docs", {**PLACE, **params, "count": "true", "limit": 1})
        assert (page["total"], len(page["data"])) == (total, 1)
    assert service.get("/v1/docs", {**PLACE, "limit": 1})["total"] is None


def test_documents_of_one_instant_are_listed_once_each(service: Service) -> None:
    furnish(service)
    with service.runtime.database.write() as session:
        session.execute(update(Doc).values(updated_at=session.scalars(select(Doc.updated_at).limit(1)).one()))
    assert listed(service, order="updated_at") == list("abcde")
    assert listed(service, order="-updated_at") == list("edcba")


def test_a_page_that_compares_many_documents_ends_early_and_the_next_one_goes_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(service)
    monkeypatch.setattr(listing, "MOST_EXAMINED", 3)
    monkeypatch.setattr(listing, "STEP_DOCS", 2)
    page = service.get("/v1/docs", {**PLACE, "title": "the cat"})
    assert (page["data"], page["has_more"], page["next_cursor"]) == ([], True, "c")
    assert listed(service, title="the cat") == ["e"]
    assert service.get("/v1/docs", {**PLACE, "title": "the cat", "count": "true"})["total"] == 1
    assert listed(service) == list("abcde")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"filters": "{year: 2019}"}, "filters is not valid JSON"),
        ({"filters": '{"year": {"over": 2019}}'}, "over"),
        ({"filters": '{"page": 1}'}, "page is a field of chunks"),
        ({"order": "title"}, "order: Input should be 'doc_id', 'updated_at' or '-updated_at'"),
        ({"order": "updated_at", "after": "a"}, "The cursor is not of this order"),
        ({"status": "done"}, "status: Input should be 'uploaded', 'processing', 'ready' or 'failed'"),
    ],
)
def test_a_list_that_cannot_be_understood_is_refused(
    shared_service: Service, params: dict[str, str], message: str
) -> None:
    problem = shared_service.get("/v1/docs", {**PLACE, **params}, expect=422)
    assert message in problem["detail"]
    assert problem["error"]["param"].startswith(next(reversed(params)))
