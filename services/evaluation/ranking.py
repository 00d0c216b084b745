"""Ranks the documents of a namespace for many queries. A document is ranked by its best chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from database.batching import batched
from domain import Mode
from errors import Invalid, NotFound
from services.evaluation.judging import quoted
from services.search.question import Answer, Question
from services.search.searching import SearchService
from text.hashing import UNSTORABLE
from text.judgements import Queries, Run
from text.restriction import Restriction

MODES: tuple[Mode, ...] = ("dense", "keyword", "hybrid")
CHUNK_DEPTHS = (128, 512, 2048, 8192)
"""Values of top_k, tried in order until a query has enough documents. The last one is the limit."""

MAX_CHUNKS_PER_BATCH = 16_384
MAX_QUERIES_PER_BATCH = 16


@dataclass
class Ranking:
    """Ranks documents of one namespace. *place* is its tenant and name; *on_progress* gets the number of queries done.

    With a *restriction*, only documents that it shows.
    Searches do not share a snapshot: *snapshots* are the (seq, version) pairs that answered, in order.
    """

    searching: SearchService
    place: tuple[str, str]
    embedding_version: str | None
    on_progress: Callable[[int], None]
    restriction: Restriction | None = None
    done: int = 0
    is_exact: bool = True
    index_version: str | None = None
    snapshots: dict[tuple[int, str], None] = field(default_factory=dict)

    def documents(self, queries: Queries, mode: str, *, count: int) -> Run:
        """Returns the *count* best documents of each query, or all that match.

        Results of smaller depths stay in front, since deeper lists fuse differently and nobody searches that deep.
        """
        run: dict[str, list[str]] = {query_id: [] for query_id in queries}
        remaining = queries
        for chunks in CHUNK_DEPTHS:
            incomplete = {}
            for query_id, answer in self._answers(remaining, mode, chunks):
                doc_ids = [*run[query_id], *(passage.doc_id for passage in answer.passages)]
                run[query_id] = list(dict.fromkeys(doc_ids))[:count]
                if len(run[query_id]) < count and len(answer.passages) == chunks < CHUNK_DEPTHS[-1]:
                    incomplete[query_id] = queries[query_id]
                else:
                    self.done += 1
                    self.on_progress(self.done)
            remaining = incomplete
        return run

    def _answers(self, queries: Queries, mode: str, chunks: int) -> Iterator[tuple[str, Answer]]:
        for batch in _batches(queries, min(MAX_QUERIES_PER_BATCH, MAX_CHUNKS_PER_BATCH // chunks)):
            answers = self.searching.search_many([self._question(query, mode, chunks) for query in batch.values()])
            for query_id, answer in zip(batch, answers, strict=True):
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
        return Question(
            *self.place,
            text,
            chunks,
            self.embedding_version,
            self.index_version,
            mode=cast(Mode, mode),
            restriction=self.restriction,
        )


def check_modes(modes: Sequence[str]) -> None:
    """Raises Invalid."""
    choices = f"there are {', '.join(MODES)}"
    for mode in modes:
        if mode not in MODES:
            raise Invalid(f"There is no mode {quoted(mode)}; {choices}.", param="modes")
    if not modes or len(set(modes)) < len(modes):
        raise Invalid(f"modes must name at least one mode, and none twice; {choices}.", param="modes")


def _batches(queries: Queries, size: int) -> Iterator[Mapping[str, str]]:
    for ids in batched(list(queries), size):
        yield {query_id: queries[query_id] for query_id in ids}
