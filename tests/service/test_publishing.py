"""Writers replace, readers search, over HTTP and two processes: never a mixture of revisions, never a gap.

Meanwhile the namespace moves from one index version to another of another chunking and back, again and again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from threading import Event
from time import sleep

from tests.support.examples import is_thorough
from tests.support.processes import Api, api_process, worker_process
from tests.support.service import PLACE, Service

DOCS = 4
PARTS = 3
CHUNKS = {PARTS, 2 * PARTS}
"""Of a document: those of its own chunking, and those of the other version's."""
SEARCHES = 4000 if is_thorough() else 480
READERS = 4
MODES = ("dense", "keyword", "hybrid")


def revision(doc: int, number: int) -> str:
    """A text of PARTS chunks, or twice as many small ones, each of which names its document and revision."""
    halves = [f"doc {doc} revision {number} part {part} of the sea and the harbour." for part in range(2 * PARTS)]
    return "\n\n".join(f"# Part {part}\n\n{halves[2 * part]} {halves[2 * part + 1]}" for part in range(PARTS))


def test_readers_never_see_a_mixture_or_a_gap_while_writers_replace(service: Service) -> None:
    settings = service.settings.model_copy(update={"rebuild_min_changes": 60, "worker_nice": 0})
    with api_process(settings) as one, api_process(settings) as two, worker_process(settings):
        for doc in range(DOCS):
            one.upsert(f"doc-{doc}", revision(doc, 0))
        make_second_version(one)
        steps = [(partial(roll_back, one), 2), *((partial(write, (one, two)[doc % 2], doc), 3) for doc in range(DOCS))]
        over, enough = Event(), [Event() for _ in steps]
        with ThreadPoolExecutor() as pool:
            writers = [pool.submit(repeat, *step, enough[at], over) for at, step in enumerate(steps)]
            readers = [pool.submit(read, (one, two)[number % 2], enough) for number in range(READERS)]
            try:
                for work in readers:
                    work.result()
            finally:
                over.set()
            for work in writers:
                work.result()
        for mode in MODES:
            check(two.search("doc revision part", top_k=50, mode=mode))
    assert service.problems() == []


def repeat(step: Callable[[int], object], times: int, enough: Event, over: Event) -> None:
    """Call `step` until `over`; `enough` is set after so many `times`, and when it fails."""
    try:
        for number in count(1):
            step(number)
            if number == times:
                enough.set()
            if over.is_set():
                return
    finally:
        enough.set()


def write(api: Api, doc: int, number: int) -> None:
    """Replace the document, every third time through the worker."""
    if number % 3:
        api.upsert(f"doc-{doc}", revision(doc, number))
    else:
        api.wait(api.batch({f"doc-{doc}": revision(doc, number)}))


def make_second_version(api: Api) -> None:
    two = {**PLACE, "name": "two", "chunking": {"chunk_tokens": 16}}
    api.wait(api.client.post("/v1/index/versions", json=two).raise_for_status().json()["job_id"])
    api.post("/v1/index/versions/two/activate", {**PLACE, "expected_active": "initial"})


def roll_back(api: Api, _: int) -> None:
    api.post("/v1/index/versions/rollback", PLACE)
    sleep(0.2)


def read(api: Api, enough: list[Event]) -> None:
    """Search a share of SEARCHES, and on until everybody has written enough."""
    for number in count():
        if number >= SEARCHES // READERS and all(event.is_set() for event in enough):
            return
        check(api.search("doc revision part", top_k=2 * DOCS * PARTS + 5, mode=MODES[number % len(MODES)]))


def check(chunks: list[dict[str, object]]) -> None:
    """Every document with all parts of one revision, and all documents in one chunking."""
    texts = sorted(str(chunk["text"]).rpartition("# ")[2].partition("doc ")[2] for chunk in chunks)
    revisions = {tuple(text.split()[:3]) for text in texts}
    assert len(revisions) == DOCS, texts
    parts = sorted(" ".join(text.split()[:5]) for chunk in chunks for text in str(chunk["text"]).split("doc ")[1:])
    assert len(parts) == len(set(parts)) == 2 * DOCS * PARTS, parts
    counts = Counter(chunk["doc_id"] for chunk in chunks)
    assert set(counts.values()) in [{each} for each in CHUNKS], counts
