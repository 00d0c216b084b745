"""Why a search found nothing or little: names for a misspelt name, and never another tenant's."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event

from domain import Scope
from tests.support.accounts import TeamClient, keyed, make_team
from tests.support.service import PLACE, Service

__all__ = ["keyed"]


def hints(answer: dict[str, Any]) -> dict[str, str]:
    return {each["code"]: each["message"] for each in answer["hints"]}


def test_a_misspelt_namespace_is_answered_with_the_nearest_ones(service: Service) -> None:
    for namespace in ("handbook", "handbooks-2024", "press"):
        service.upsert("a", "Cats sleep.", namespace=namespace)
    answer = service.search("cats", namespace="hand-book")
    assert list(hints(answer)) == ["unknown_namespace"]
    assert answer["hint"] == hints(answer)["unknown_namespace"]
    assert "Did you mean 'handbook', 'handbooks-2024'? A namespace is created" in answer["hint"]
    assert "It has 'press', 'handbook', 'handbooks-2024'. " in service.search("cats", namespace="xyz")["hint"]
    problem = service.get("/v1/docs/a", {**PLACE, "namespace": "handbok"}, expect=404)
    assert "Did you mean 'handbook'" in problem["detail"]
    assert "Did you mean" not in service.search("cats", tenant_id="nobody", namespace="handbok")["hint"]


def test_names_are_those_of_the_callers_own_tenant(keyed: Service) -> None:
    ours, theirs = make_team(keyed, "ours"), make_team(keyed, "theirs")
    for team, namespace in ((ours, "handbook"), (theirs, "handbooks-of-theirs")):
        team.post(f"{team.own}/projects", {"namespace": namespace}, expect=201)

    def hint(team: TeamClient, tenant_id: str) -> str:
        body = {"tenant_id": tenant_id, "namespace": "handbock", "query": "cats"}
        return str(team.post("/v1/search", body, scope=Scope.SEARCH)["hint"])

    assert "Did you mean 'handbook'? A namespace" in hint(ours, "ours")
    assert hint(ours, "theirs") == hint(ours, "no such team")
    assert "handbooks" not in hint(ours, "theirs")


def test_a_filter_that_matches_nothing_says_which_field_nobody_has(service: Service) -> None:
    service.upsert("a", "Cats sleep.", metadata={"topic": "cats", "author": {"name": "Ann"}})
    nothing = service.search("cats", filters={"topics": "cats", "author.name": "Ann"})
    assert hints(nothing) == {
        "unknown_filter_key": "No document here has the field 'topics' that filters name: did you mean 'topic'?"
    }
    assert list(hints(service.search("cats", filters={"topic": "dogs"}))) == ["no_match_of_filter"]
    assert service.search("cats", filters={"topic": "cats"})["hints"] == []


def test_a_keyword_search_without_a_known_word_names_its_words(service: Service) -> None:
    service.upsert("a", "Cats sleep.", metadata={"topic": "cats"})
    reasons = hints(service.search("zymurgy xylophone", mode="keyword"))
    assert reasons["unknown_words"].startswith("No passage has any of the words 'zymurg")
    reasons = hints(service.search("dogs", mode="keyword", filters={"topic": "cats"}))
    assert reasons["unknown_words"].startswith("No passage that matches the filters has the word 'dog'")
    assert list(hints(service.search("?!", mode="keyword"))) == ["no_words"]
    assert service.search("cats", mode="keyword")["hints"] == []


def test_a_search_says_that_documents_still_wait(service: Service) -> None:
    service.batch({"a": "Cats sleep.", "b": "Dogs bark."}, async_mode=True)
    first = service.search("cats")
    assert first["hints"][-1]["code"] == "processing"
    assert first["hints"][-1]["message"].startswith("2 documents of this namespace cannot be found before a worker")
    service.work()
    service.batch({"c": "Cows moo."}, async_mode=True)
    short = service.search("cats")
    assert (len(short["chunks"]), short["hint"], list(hints(short))) == (2, None, ["processing"])
    service.work()
    assert service.search("cats")["hints"] == []


def test_an_answer_that_is_full_does_no_work_for_hints(service: Service) -> None:
    service.batch({"a": "Cats sleep.", "b": "Dogs bark."})
    service.batch({"c": "Cows moo."}, async_mode=True)
    engine, queries = service.client.app_state["runtime"].database.engine, []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        queries.extend([statement] if "'ready'" in statement else [])

    event.listen(engine, "before_cursor_execute", note)
    service.search("cats", top_k=2)
    assert queries == []
    service.search("cats", top_k=3)
    assert len(queries) == 1
