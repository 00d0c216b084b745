"""What queries and judgements can be measured by: checked, and held against each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from errors import Invalid
from text.judgements import Qrels, Queries

MOST_RELEVANT = 1000
TOLD_CHARS = 60


@dataclass(frozen=True, slots=True)
class Judged:
    """The queries that have a relevant document, with their judgements, and how many were left out."""

    queries: Queries
    qrels: Qrels
    queries_without_qrels: int
    queries_without_relevant: int
    qrels_without_query: int

    @property
    def doc_ids(self) -> set[str]:
        return {doc_id for docs in self.qrels.values() for doc_id in docs}

    def notes(self) -> Iterator[str]:
        if self.queries_without_qrels:
            yield f"{self.queries_without_qrels} queries are not judged in qrels: they were left out."
        if self.queries_without_relevant:
            yield f"{self.queries_without_relevant} queries have no relevant document in qrels: they were left out."
        if self.qrels_without_query:
            yield f"{self.qrels_without_query} queries of qrels are not among the queries: they were left out."


def judged(queries: Queries, qrels: Qrels) -> Judged:
    """Raises Invalid where nothing, or something absurd, would be measured."""
    _check(queries, qrels)
    unjudged = [query_id for query_id in queries if not qrels.get(query_id)]
    relevant = [query_id for query_id in queries if any(value > 0 for value in qrels.get(query_id, {}).values())]
    if not relevant:
        raise Invalid(
            f"None of the {len(queries)} queries has a relevant document in qrels, and {len(unjudged)} are not in it "
            "at all: the ids of queries must be the same in both.",
            param="qrels",
        )
    return Judged(
        queries={query_id: queries[query_id] for query_id in relevant},
        qrels={query_id: qrels[query_id] for query_id in relevant},
        queries_without_qrels=len(unjudged),
        queries_without_relevant=len(queries) - len(unjudged) - len(relevant),
        qrels_without_query=len(qrels.keys() - queries.keys()),
    )


def told(name: str) -> str:
    """A name of anybody's choice, short enough for an error."""
    return repr(name if len(name) <= TOLD_CHARS else f"{name[:TOLD_CHARS]}…")


def _check(queries: Queries, qrels: Qrels) -> None:
    if not queries:
        raise Invalid("There are no queries: give each an id and its text.", param="queries")
    if not any(qrels.values()):
        raise Invalid("qrels are empty: without judgements there is nothing to measure by.", param="qrels")
    for query_id, query in queries.items():
        if not query.strip(" \t\r\n\x00"):
            raise Invalid(f"Query {told(query_id)} is empty.", param="queries")
    for query_id, docs in qrels.items():
        if any(abs(value) > MOST_RELEVANT for value in docs.values()):
            raise Invalid(f"A relevance of query {told(query_id)} is beyond {MOST_RELEVANT}.", param="qrels")
