"""Which documents a namespace finds for each of many queries. A document is ranked by its best chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from database.batching import batched
from domain import Mode
from errors import NotFound
from services.search.question import Answer, Question
from services.search.searching import SearchService
from text.hashing import UNSTORABLE
from text.judgements import Queries, Run

MODES: tuple[Mode, ...] = ("dense", "keyword", "hybrid")
CHUNKS_ASKED = (128, 512, 2048, 8192)
"""Tried one after the other until enough documents are seen. Beyond the last, documents are not looked for."""

MOST_CHUNKS_AT_ONCE = 16_384
MOST_QUERIES_AT_ONCE = 16


@dataclass
class Ranking:
    """Asks in the name of one tenant. *show* is called with the number of searches that are done.

    No snapshot is held: *snapshots* are the publications and versions that answered, in the order they were met.
    """

    searching: SearchService
    place: tuple[str, str]
    embedding_version: str | None
    show: Callable[[int], None]
    done: int = 0
    is_exact: bool = True
    snapshots: dict[tuple[int, str], None] = field(default_factory=dict)

    def documents(self, queries: Queries, mode: str, *, count: int) -> Run:
        """The *count* best documents of each query, or all that are found.

        What was found among few chunks stays in front: deeper lists are fused otherwise, and nobody searches so deep.
        """
        run: dict[str, list[str]] = {query_id: [] for query_id in queries}
        waiting = queries
        for chunks in CHUNKS_ASKED:
            short = {}
            for query_id, answer in self._answers(waiting, mode, chunks):
                found = [*run[query_id], *(passage.doc_id for passage in answer.passages)]
                run[query_id] = list(dict.fromkeys(found))[:count]
                if len(run[query_id]) < count and len(answer.passages) == chunks < CHUNKS_ASKED[-1]:
                    short[query_id] = queries[query_id]
                else:
                    self.done += 1
                    self.show(self.done)
            waiting = short
        return run

    def _answers(self, queries: Queries, mode: str, chunks: int) -> Iterator[tuple[str, Answer]]:
        for some in _batches(queries, min(MOST_QUERIES_AT_ONCE, MOST_CHUNKS_AT_ONCE // chunks)):
            answers = self.searching.search_many([self._question(query, mode, chunks) for query in some.values()])
            for query_id, answer in zip(some, answers, strict=True):
                if isinstance(answer, Exception):
                    raise answer
                self._note(answer)
                yield query_id, answer

    def _note(self, answer: Answer) -> None:
        if answer.seq is None or answer.embedding_version is None:
            raise NotFound(answer.hint or "The namespace is gone.", param="namespace")
        self.is_exact &= answer.is_exact
        self.snapshots[answer.seq, answer.embedding_version] = None

    def _question(self, query: str, mode: str, chunks: int) -> Question:
        text = UNSTORABLE.sub(" ", query)
        return Question(*self.place, text, chunks, self.embedding_version, mode=cast(Mode, mode))


def _batches(queries: Queries, size: int) -> Iterator[Mapping[str, str]]:
    for ids in batched(list(queries), size):
        yield {query_id: queries[query_id] for query_id in ids}
