"""What an upsert promises: one document, one revision, paid for once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.prose import prose
from tests.support.service import PLACE, Service


def test_a_replaced_document_shows_its_new_text_alone(service: Service) -> None:
    service.upsert("doc", "The old text speaks of volcanoes.")
    service.upsert("doc", "The new text speaks of glaciers.")
    answer = service.search("volcanoes")
    assert [chunk["text"] for chunk in answer["chunks"]] == ["The new text speaks of glaciers."]
    assert service.doc("doc")["revision"] == 2


def test_changed_metadata_alone_is_not_embedded_again(service: Service) -> None:
    service.upsert("doc", "Cats sleep.", metadata={"year": 2019})
    answer = service.upsert("doc", "Cats sleep.", metadata={"year": 2020})
    assert (answer["upserted_docs"], answer["chunks_created"], answer["chunks_embedded"]) == (1, 0, 0)
    assert service.search("cats")["chunks"][0]["metadata"] == {"year": 2020}
    assert service.doc("doc")["revision"] == 1


def test_of_one_document_twice_in_a_batch_the_later_one_wins(service: Service) -> None:
    docs = [{**PLACE, "doc_id": "doc", "text": text} for text in ("Early birds sing.", "Late owls hunt.")]
    answer = service.post("/v1/docs/upsert/batch", {"docs": docs})
    assert (answer["accepted"], answer["upserted_docs"], answer["skipped_docs"]) == (2, 1, 1)
    assert [chunk["text"] for chunk in service.search("birds")["chunks"]] == ["Late owls hunt."]


def test_a_document_put_back_after_its_deletion_lives_again_without_embedding(service: Service) -> None:
    service.upsert("doc", "Cats sleep.")
    service.delete("doc")
    service.doc("doc", expect=404)
    answer = service.upsert("doc", "Cats sleep.")
    assert (answer["upserted_docs"], answer["chunks_embedded"], answer["chunks_reused"]) == (1, 0, 1)
    assert service.hit_ids("cats") == ["doc"]


def test_one_paragraph_inserted_into_three_hundred_embeds_at_most_four_chunks(service: Service) -> None:
    paragraphs = [prose(number) for number in range(300)]
    first = service.upsert("book", "\n\n".join(paragraphs))
    assert first["chunks_embedded"] == first["chunks_created"] > 50
    paragraphs.insert(150, prose(1000))
    second = service.upsert("book", "\n\n".join(paragraphs))
    assert 1 <= second["chunks_embedded"] <= 4
    assert second["chunks_reused"] == second["chunks_created"] - second["chunks_embedded"]


def test_the_same_text_in_two_documents_is_embedded_once(service: Service) -> None:
    service.upsert("one", "Cats sleep.")
    answer = service.upsert("two", "Cats sleep.")
    assert (answer["chunks_embedded"], answer["chunks_reused"]) == (0, 1)
    assert sorted(service.hit_ids("cats")) == ["one", "two"]


def test_another_strategy_for_the_same_text_cuts_it_anew(service: Service) -> None:
    text = "name,age\nAda,36\nAlan,41"
    service.upsert("people", text)
    answer = service.upsert("people", text, chunk_strategy="table")
    assert (answer["upserted_docs"], answer["skipped_docs"]) == (1, 0)


def test_offsets_point_into_the_text_as_it_was_sent(service: Service) -> None:
    text = "# Häfen 🚢\r\n\r\nSchiffe fahren über die See.\r\n\r\n" + "\n\n".join(prose(n) for n in range(30))
    service.upsert("doc", text)
    chunks = service.chunks("doc")
    assert len(chunks) > 5
    assert all(text[chunk["char_start"] : chunk["char_end"]] == chunk["text"] for chunk in chunks)


def test_an_enriched_chunk_is_found_by_its_title_and_shows_only_its_text(service: Service) -> None:
    service.upsert("plain", "It weighs four kilograms.")
    service.upsert("rich", "It weighs five kilograms.", title="Dachshund handbook", enrich_context=True)
    [first, *_] = service.search("dachshund")["chunks"]
    assert (first["doc_id"], first["text"]) == ("rich", "It weighs five kilograms.")


@pytest.mark.parametrize("doc_id", ["a/b", "100%", "../../etc/passwd", "x/chunks", "ü 🦊?#&", "a%2Fb", "chunks", "."])
def test_a_doc_id_of_any_characters_works_in_the_url(service: Service, doc_id: str) -> None:
    from urllib.parse import quote

    service.upsert(doc_id, "Foxes run.")
    path = quote(doc_id, safe="").replace(".", "%2E")
    assert service.get(f"/v1/docs/{path}", PLACE)["doc_id"] == doc_id
    assert len(service.get(f"/v1/docs/{path}/chunks", PLACE)["data"]) == 1
    assert service.delete(path)["doc_id"] == doc_id
    assert service.hit_ids("foxes") == []


def test_lists_are_paged_by_cursor(service: Service) -> None:
    service.batch({f"doc-{number:02d}": prose(number) for number in range(7)})
    listed: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = service.get("/v1/docs", {**PLACE, "limit": 3, **after})
        listed += [doc["doc_id"] for doc in page["data"]]
        if not page["has_more"]:
            break
        after = {"after": page["next_cursor"]}
    assert listed == [f"doc-{number:02d}" for number in range(7)]


def test_preconditions_are_kept(service: Service) -> None:
    body = {**PLACE, "doc_id": "doc", "text": "First."}
    service.post("/v1/docs/upsert", body, headers={"If-None-Match": "*"})
    service.post("/v1/docs/upsert", body, headers={"If-None-Match": "*"}, expect=412)
    etag = service.client.get("/v1/docs/doc", params=PLACE).headers["etag"]
    service.post("/v1/docs/upsert", {**body, "text": "Second."}, headers={"If-Match": etag})
    refused = service.post("/v1/docs/upsert", {**body, "text": "Third."}, headers={"If-Match": etag}, expect=412)
    assert "not " + etag.strip('"') in refused["detail"]
    assert service.search("x")["chunks"][0]["text"] == "Second."


def test_a_batch_for_two_tenants_reaches_both(service: Service) -> None:
    docs = [{"tenant_id": t, "namespace": "n", "doc_id": "doc", "text": f"{t} text"} for t in ("one", "two")]
    service.post("/v1/docs/upsert/batch", {"docs": docs})
    for tenant in ("one", "two"):
        chunks = service.search("text", tenant_id=tenant, namespace="n")["chunks"]
        assert [chunk["text"] for chunk in chunks] == [f"{tenant} text"]


NAMES = [
    ("a_b", "c"),
    ("a", "b_c"),
    ("../../etc", "x"),
    ("🦊" * 200, "🦊"),
    ("Acme", "P"),
    ("acme", "p"),
    ("a", "b\\c"),
]


def test_names_never_meet_in_one_partition_file_or_row(service: Service) -> None:
    for number, (tenant, namespace) in enumerate(NAMES):
        place = {"tenant_id": tenant, "namespace": namespace}
        service.post("/v1/docs/upsert", {**place, "doc_id": "same", "text": f"Text number {number}."})
        service.post("/v1/index/rebuild", place)
    service.work()
    for number, (tenant, namespace) in enumerate(NAMES):
        chunks = service.search("text", tenant_id=tenant, namespace=namespace)["chunks"]
        assert [chunk["text"] for chunk in chunks] == [f"Text number {number}."]
    files = service.index_files()
    assert len({file.parent for file in files}) == len(files) == (len(NAMES) if service.keeps_files else 0)
    assert all(file.parent.parent == service.settings.index_dir for file in files)
    assert service.problems() == []


def test_metadata_that_python_takes_for_equal_is_told_apart(service: Service) -> None:
    service.upsert("doc", "Cats sleep.", metadata={"x": 1})
    assert service.upsert("doc", "Cats sleep.", metadata={"x": True})["upserted_docs"] == 1
    assert service.doc("doc")["metadata"]["x"] is True


def test_if_match_with_a_star_means_any_document_that_is_there(service: Service) -> None:
    body = {**PLACE, "doc_id": "doc", "text": "First."}
    service.post("/v1/docs/upsert", body, headers={"If-Match": "*"}, expect=412)
    service.upsert("doc", "First.")
    service.post("/v1/docs/upsert", {**body, "text": "Second."}, headers={"If-Match": "*"})
    assert service.doc("doc")["revision"] == 2


def test_a_namespace_that_many_make_at_once_is_made_once(service: Service) -> None:
    service.upsert("warm", "The model is loaded.", tenant_id="acme", namespace="warm")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: service.upsert(f"doc-{number}", prose(number)), range(8)))
    assert all(answer["upserted_docs"] == 1 for answer in answers)
    assert service.stats()["live_docs"] == 8
    assert service.problems() == []
