"""Validates queries and judgements, and selects the queries that can be measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from errors import Invalid
from text.judgements import Qrels, Queries

MAX_RELEVANCE = 1000
QUOTED_CHARS = 60


@dataclass(frozen=True, slots=True)
class JudgedQueries:
    """The queries with a relevant document, with their judgements, and the numbers of those left out."""

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


def match_judgements(queries: Queries, qrels: Qrels) -> JudgedQueries:
    """Selects the queries with a relevant document. Raises Invalid if there are none, and for invalid input."""
    _check(queries, qrels)
    unjudged = [query_id for query_id in queries if not qrels.get(query_id)]
    relevant = [query_id for query_id in queries if any(value > 0 for value in qrels.get(query_id, {}).values())]
    if not relevant:
        raise Invalid(
            f"None of the {len(queries)} queries has a relevant document in qrels, and {len(unjudged)} are not in it "
            "at all: the ids of queries must be the same in both.",
            param="qrels",
        )
    return JudgedQueries(
        queries={query_id: queries[query_id] for query_id in relevant},
        qrels={query_id: qrels[query_id] for query_id in relevant},
        queries_without_qrels=len(unjudged),
        queries_without_relevant=len(queries) - len(unjudged) - len(relevant),
        qrels_without_query=len(qrels.keys() - queries.keys()),
    )


def quoted(name: str) -> str:
    """Returns the name quoted, shortened for an error message."""
    return repr(name if len(name) <= QUOTED_CHARS else f"{name[:QUOTED_CHARS]}…")


def _check(queries: Queries, qrels: Qrels) -> None:
    if not queries:
        raise Invalid("There are no queries: give each an id and its text.", param="queries")
    if not any(qrels.values()):
        raise Invalid("qrels are empty: without judgements there is nothing to measure by.", param="qrels")
    for query_id, query in queries.items():
        if not query.strip(" \t\r\n\x00"):
            raise Invalid(f"Query {quoted(query_id)} is empty.", param="queries")
    for query_id, docs in qrels.items():
        if any(abs(value) > MAX_RELEVANCE for value in docs.values()):
            raise Invalid(f"A relevance of query {quoted(query_id)} is beyond {MAX_RELEVANCE}.", param="qrels")
