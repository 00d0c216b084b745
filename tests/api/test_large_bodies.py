"""No body stops the API for others, or takes its memory: what is refused, how soon, and what others wait meanwhile."""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import psutil
import pytest

import api.bodies
from api.bodies import Budget
from api.limits import MIB, OTHER_BODY_BYTES, body_limit, parsed_bytes
from app_v1 import create_app
from errors import Overloaded
from tests.support.examples import is_thorough
from tests.support.processes import Api, api_process
from tests.support.service import PLACE, Service, settings_in

BATCH = "/v1/docs/upsert/batch"
TAKE_DOCUMENTS = {f"/v1/docs/{each}" for each in ("upsert", "upsert/batch", "upsert/stream", "upload", "preview")}
DOC = {**PLACE, "doc_id": "doc", "text": "Cats sleep."}
AT_ONCE = 50 if is_thorough() else 25
MAX_RSS = 600 * MIB


def of_size(head: bytes, item: bytes, tail: bytes, size: int = MIB) -> bytes:
    """JSON of *size* bytes at the most, of the same item again and again."""
    return head + b",".join([item] * ((size - len(head) - len(tail)) // (len(item) + 1))) + tail


def doubled(size: int = MIB) -> bytes:
    """One object of many keys, of which the last stands there twice."""
    keys = ",".join(f'"{number}":1' for number in range(size // 12))
    return f'{{"docs":[{{"metadata":{{{keys},"{size // 12 - 1}":2}}}}]}}'.encode()


BODIES = {
    "documents that are all wrong": (of_size(b'{"docs":[', b"{}", b"]}"), 422),
    "a vector of strings": (of_size(b'{"docs":[{"chunks":[{"text":"a","vector":[', b'""', b"]}]}]}"), 422),
    "chunks that are all wrong": (of_size(b'{"docs":[{"chunks":[', b"{}", b"]}]}"), 422),
    "a key that stands twice": (doubled(), 422),
    "fields that nobody knows": (doubled().replace(b'"metadata"', b'"meta"').replace(b":2}", b"}", 1), 422),
    "lists in lists": (of_size(b'{"docs":', b"[]", b"}"), 422),
    "brackets": (b"[" * MIB, 422),
}


# What is refused


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_that_is_wrong_all_through_is_refused_in_a_few_words(service: Service, kind: str) -> None:
    body, status = BODIES[kind]
    answer = service.client.post(BATCH, content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, "invalid_request"), answer.text
    assert len(answer.content) < 10_000
    service.upsert("doc", "Cats sleep.")


WRONG: list[tuple[str, Any, int]] = [
    ("/v1/search", {"vector": ["x"] * 10_000}, 1),
    ("/v1/search", {"vector": [0.5] * 16_001}, 1),
    ("/v1/search", {"queries": [7] * 10}, 1),
    ("/v1/search", {"include": ["x", "y"]}, 1),
    ("/v1/eval", {"queries": dict.fromkeys(map(str, range(9999)), 1), "qrels": {}}, 1),
    ("/v1/eval", {"queries": {}, "qrels": {"a": dict.fromkeys(map(str, range(9999)), "x")}}, 1),
    (BATCH, {"docs": [{}] * 9999}, 3),
    (BATCH, {"docs": [{**DOC, "metadata": dict.fromkeys(map(str, range(10_001)), 1)}]}, 1),
    ("/v1/docs/upsert", dict.fromkeys(map(str, range(9999)), 1), 1),
    ("/v1/docs/upsert", {name: 7 for name in (*"abcdefghi", "title", "mime_type", "text")}, 15),
]


@pytest.mark.parametrize(("path", "body", "count"), WRONG, ids=[f"{path}-{n}" for n, (path, *_) in enumerate(WRONG)])
def test_lists_are_read_up_to_their_first_wrong_item_and_ten_errors_are_told(
    service: Service, path: str, body: Any, count: int
) -> None:
    place = {} if path in (BATCH, "/v1/docs/upsert") else {**PLACE}
    detail = service.post(path, {**place, **body}, expect=422)["detail"]
    messages = detail.split("; ")
    assert len(messages) == min(count, 11), detail
    assert (messages[-1] == f"and {count - 10} more, {count} in all") == (count > 10)


def test_every_list_and_object_of_every_request_states_its_limit() -> None:
    document = create_app().openapi()
    operations = [one for path in document["paths"].values() for one in path.values()]
    bodies = [one["requestBody"]["content"] for one in operations if "requestBody" in one]
    parameters = [each["schema"] for one in operations for each in one.get("parameters", [])]
    schemas = [each["schema"] for content in bodies for each in content.values()] + parameters
    unlimited = {place for schema in schemas for place in _unlimited(schema, document, "")}
    assert unlimited == set()


def _unlimited(schema: Any, document: Any, at: str) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from _unlimited(document["components"]["schemas"][name], document, name)
    if schema.get("type") == "array" and "maxItems" not in schema:
        yield f"{at}: a list"
    if schema.get("type") == "object" and "maxProperties" not in schema and "properties" not in schema:
        yield f"{at}: an object"
    inner = {**schema.get("properties", {})}
    inner |= {key: schema[key] for key in ("items", "additionalProperties", "contentSchema") if schema.get(key)}
    for name, each in [*inner.items(), *((at, each) for each in schema.get("anyOf", []))]:
        if isinstance(each, dict):
            yield from _unlimited(each, document, f"{at}.{name}")


def test_a_route_takes_no_longer_body_than_it_needs(service: Service) -> None:
    for path, route in create_app().openapi()["paths"].items():
        largest = body_limit(path, service.settings).largest
        for method, operation in route.items():
            takes_docs = path in {
                "/v1/docs/upsert",
                BATCH,
                "/v1/docs/upsert/stream",
                "/v1/docs/upload",
                "/v1/docs/preview",
                "/v1/files",
                "/v1/uploads/{upload_id}/parts",
                "/v1/librechat/embed",
                "/v1/librechat/text",
            }
            assert takes_docs or largest <= 8 * MIB, path
            if "requestBody" in operation and largest <= MIB:
                url = re.sub(r"{\w+}", "0" * 16, path)
                answer = service.client.request(method, url, content=b" " * (largest + 1))
                assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large"), path
    assert body_limit("/v1/jobs/1/cancel", service.settings).largest == OTHER_BODY_BYTES


def test_a_body_without_a_length_is_read_as_large_ones_are(service: Service) -> None:
    pieces = json.dumps(DOC).encode()
    answer = service.client.post("/v1/docs/upsert", content=(pieces[i : i + 9] for i in range(0, len(pieces), 9)))
    assert answer.status_code == 200, answer.text
    answer = service.client.post("/v1/docs/upsert", content=pieces, headers={"Content-Type": "text/plain"})
    assert "'text/plain'" in answer.json()["detail"]


def test_a_large_document_is_taken_and_its_key_repeats_the_answer(service: Service) -> None:
    body = {**DOC, "text": "Cats sleep all day, and that is all there is to tell of them. " * 4000}
    first, again = (service.client.post("/v1/docs/upsert", json=body, headers={"Idempotency-Key": "1"}) for _ in "12")
    assert (first.status_code, first.json()) == (200, again.json())
    assert again.headers["idempotency-replayed"] == "true"


def test_more_values_than_a_process_has_memory_for_are_not_parsed(service: Service) -> None:
    with service.restarted(max_body_mb=1) as small:
        answer = small.client.post(BATCH, content=of_size(b'{"docs":[', b"{}", b"]}"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
        assert "too many values" in answer.json()["detail"]
        small.upsert("doc", 'a, "b", [c], {d}; ' * 50_000, expect=200)


def test_what_json_will_take_is_told_from_its_commas_and_brackets_outside_of_strings() -> None:
    text = json.dumps({"text": 'a, "b", [c], {d}\\; ' * 10_000}).encode()
    assert parsed_bytes(text) < 2 * len(text)
    for body in (of_size(b"[", b"[]", b"]"), of_size(b"[", b"0.5", b"]"), of_size(b"[", b'{"a":"b"}', b"]")):
        assert parsed_bytes(body) > 15 * len(body)


# Who waits for whom


def test_who_needs_more_than_is_left_waits_behind_those_who_came_before() -> None:
    async def admission_order() -> list[str]:
        budget, order = Budget(10), []

        async def take(name: str, amount: int) -> None:
            async with budget.reserve(amount):
                order.append(name)
                await asyncio.sleep(0)

        async with budget.reserve(6):
            waiting = [asyncio.create_task(take(name, amount)) for name, amount in (("large", 8), ("small", 1))]
            await asyncio.sleep(0)
            assert order == []
        await asyncio.gather(*waiting)
        return order

    assert asyncio.run(admission_order()) == ["large", "small"]


def test_who_waits_too_long_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.bodies, "PATIENCE_SECONDS", 0.01)

    async def wait_in_vain() -> None:
        budget = Budget(10)
        async with budget.reserve(6):
            with pytest.raises(Overloaded):
                async with budget.reserve(5):
                    pass
            async with budget.reserve(4):
                pass
        async with budget.reserve(10):
            pass

    asyncio.run(wait_in_vain())


@pytest.fixture(scope="module")
def api_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with api_process(settings_in(tmp_path_factory.mktemp("api"))) as running:
        running.upsert("doc", "Cats sleep.")
        yield running


@pytest.mark.parametrize("kind", ["documents that are all wrong", "a key that stands twice"])
def test_many_such_bodies_at_once_stop_nobody_and_stay_small(api_of_its_own: Api, kind: str) -> None:
    body, status = BODIES[kind]
    api = api_of_its_own
    with _watched(api) as alone:
        pass
    with _watched(api) as measurements, ThreadPoolExecutor(AT_ONCE) as clients:
        statuses = [*clients.map(lambda _: _status(api, body), range(AT_ONCE))]
    assert set(statuses) <= {status, 503} and status in statuses
    waits, rss = measurements()
    summary = f"{len(waits)} probes, median {statistics.median(waits):.3f} s, longest {max(waits):.3f} s"
    sys.stdout.write(f"\n{kind}: {summary}; RSS {rss >> 20} MiB\n")
    assert statistics.median(waits) < max(0.25, 20 * statistics.median(alone()[0])), summary
    assert rss < MAX_RSS


def _status(api: Api, body: bytes) -> int:
    return httpx.post(api.client.base_url.join(BATCH), content=body, timeout=120).status_code


@contextmanager
def _watched(api: Api) -> Iterator[Callable[[], tuple[list[float], int]]]:
    """Others search and list meanwhile: how long each of them waited, and the most memory that the process had."""
    waits: list[float] = []
    sizes: list[int] = []
    is_over = threading.Event()

    def probe() -> None:
        process = psutil.Process(api.process.pid)
        while not is_over.is_set() or len(waits) < 10:
            started = time.perf_counter()
            api.search("cats")
            api.get("/v1/docs", **PLACE)
            waits.append((time.perf_counter() - started) / 2)
            sizes.append(process.memory_info().rss)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield lambda: (waits, max(sizes))
    finally:
        is_over.set()
        thread.join()
