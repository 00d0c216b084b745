"""Writers replace, readers search, over HTTP and two processes: never a mixture of revisions, never a gap.

Meanwhile the namespace moves from one index version to another and back, again and again.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Event

from tests.support.examples import is_thorough
from tests.support.processes import Api, api_process, worker_process
from tests.support.service import PLACE, Service

DOCS = 4
PARTS = 3
SEARCHES = 4000 if is_thorough() else 480
READERS = 4
MODES = ("dense", "keyword", "hybrid")


def revision(doc: int, number: int) -> str:
    """A text of PARTS chunks, each of which names its document and revision."""
    return "\n\n".join(f"# Part {part}\n\ndoc {doc} revision {number} part {part}" for part in range(PARTS))


def test_readers_never_see_a_mixture_or_a_gap_while_writers_replace(service: Service) -> None:
    settings = service.settings.model_copy(update={"rebuild_min_changes": 60, "worker_nice": 0})
    over = Event()
    with api_process(settings) as one, api_process(settings) as two, worker_process(settings):
        for doc in range(DOCS):
            one.upsert(f"doc-{doc}", revision(doc, 0))
        with ThreadPoolExecutor() as pool:
            moves = pool.submit(move_to_and_fro, one, over)
            writers = [pool.submit(write, (one, two)[doc % 2], doc, over) for doc in range(DOCS)]
            readers = [pool.submit(read, (one, two)[number % 2]) for number in range(READERS)]
            try:
                assert sum(reader.result() for reader in readers) == SEARCHES
            finally:
                over.set()
            assert min(writer.result() for writer in writers) >= 3
            assert moves.result() >= 2
        for mode in MODES:
            check(two.search("doc revision part", top_k=50, mode=mode))
    assert service.problems() == []


def write(api: Api, doc: int, over: Event) -> int:
    """Replace the document again and again, every third time through the worker. Returns how often."""
    for number in count(1):
        if number % 3:
            api.upsert(f"doc-{doc}", revision(doc, number))
        else:
            api.wait(api.batch({f"doc-{doc}": revision(doc, number)}))
        if over.is_set():
            return number
    raise AssertionError


def move_to_and_fro(api: Api, over: Event) -> int:
    """Build a second version, let it serve, and roll back and forth. Returns how often."""
    two = {**PLACE, "name": "two", "prompts": {"document": "A part of a document: "}}
    api.wait(api.client.post("/v1/index/versions", json=two).raise_for_status().json()["job_id"])
    api.post("/v1/index/versions/two/activate", {**PLACE, "expected_active": "initial"})
    for number in count(1):
        api.post("/v1/index/versions/rollback", PLACE)
        if over.wait(0.2):
            return number
    raise AssertionError


def read(api: Api) -> int:
    for number in range(SEARCHES // READERS):
        check(api.search("doc revision part", top_k=DOCS * PARTS + 5, mode=MODES[number % len(MODES)]))
    return SEARCHES // READERS


def check(chunks: list[dict[str, object]]) -> None:
    """Every document with all parts of one revision."""
    texts = sorted(str(chunk["text"]).partition("\n\n")[2] for chunk in chunks)
    revisions = {tuple(text.split()[:4]) for text in texts}
    assert len(revisions) == DOCS, texts
    assert len(texts) == DOCS * PARTS, texts
