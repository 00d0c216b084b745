"""Reads and writes the files of retrieval test collections, BEIR's and TREC's: queries, judgements (qrels) and runs.

A line that cannot be parsed raises Invalid, which names it. Lines count from 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from errors import Invalid
from text import strict_json

Queries = Mapping[str, str]
"""The text of each query, by its id."""

Qrels = Mapping[str, Mapping[str, int]]
"""The relevance of documents by query id: 0 is not relevant, and more is more relevant."""

Run = Mapping[str, list[str]]
"""The ranked documents by query id, best first."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_HEADINGS = {"query-id", "query_id", "query", "qid", "_id", "id"}


def read_queries(content: str) -> Queries:
    """BEIR's JSONL (``{"_id": …, "text": …}``), or lines of an id, a tab and the text, with or without a header."""
    queries: dict[str, str] = {}
    for place, (number, line) in enumerate(_lines(content)):
        is_json = line.startswith("{")
        query_id, text = _json_query(number, line) if is_json else _plain_query(number, line)
        if place == 0 and not is_json and query_id in _HEADINGS:
            continue
        if query_id in queries:
            raise Invalid(f"Line {number}: query {query_id!r} has come before.")
        queries[query_id] = text
    return queries


def read_qrels(content: str) -> Qrels:
    """BEIR's three columns (query, document, relevance; a header), or TREC's four (query, 0, document, relevance)."""
    qrels: dict[str, dict[str, int]] = {}
    for place, (number, line) in enumerate(_lines(content)):
        fields = _fields(line)
        if len(fields) not in (3, 4):
            raise Invalid(
                f"Line {number} has {len(fields)} columns: 3 (query, document, relevance) or TREC's 4 "
                "(query, 0, document, relevance) are read."
            )
        if place == 0 and fields[0] in _HEADINGS:
            continue
        _judge(qrels.setdefault(fields[0], {}), number, fields[-2], fields[-1])
    return qrels


def read_runs(content: str) -> Mapping[str, Run]:
    """TREC's six columns (query, Q0, document, rank, score, tag): a run for each tag, its documents by their ranks."""
    runs: dict[str, dict[str, list[tuple[int, str]]]] = {}
    for number, line in _lines(content):
        fields = _fields(line)
        if len(fields) != 6 or not fields[3].isdecimal():
            raise Invalid(f"Line {number} is not one of a TREC run: query, Q0, document, rank, score, tag.")
        query_id, _, doc_id, rank, _, tag = fields
        runs.setdefault(tag, {}).setdefault(query_id, []).append((int(rank), doc_id))
    return {
        tag: {query_id: [doc_id for _, doc_id in sorted(ranked)] for query_id, ranked in run.items()}
        for tag, run in runs.items()
    }


def write_runs(runs: Mapping[str, Run]) -> Iterator[str]:
    """Yields lines for read_runs(), separated by tabs because an id may contain a space."""
    for tag, run in runs.items():
        for query_id, doc_ids in run.items():
            for rank, doc_id in enumerate(doc_ids, 1):
                yield "\t".join((query_id, "Q0", doc_id, str(rank), f"{1 / rank:.6f}", tag)) + "\n"


def _lines(content: str) -> Iterator[tuple[int, str]]:
    """Yields the lines that are not blank, numbered. Only a line feed ends one: texts may have other separators."""
    for number, line in enumerate(content.removeprefix("\ufeff").split("\n"), 1):
        if line.strip():
            yield number, line.strip("\r ")


def _fields(line: str) -> list[str]:
    return [field.strip() for field in line.split("\t")] if "\t" in line else line.split()


def _json_query(number: int, line: str) -> tuple[str, str]:
    try:
        query = strict_json.loads(line)
    except strict_json.NotJson as error:
        raise Invalid(f"Line {number} is not valid JSON ({error}).") from error
    query_id, text = query.get("_id"), query.get("text")
    if not isinstance(query_id, str | int) or isinstance(query_id, bool) or not isinstance(text, str):
        raise Invalid(f'Line {number} has no "_id" or no "text".')
    return str(query_id), text


def _plain_query(number: int, line: str) -> tuple[str, str]:
    query_id, tab, text = line.partition("\t")
    if not tab:
        raise Invalid(f"Line {number} is neither JSON nor an id, a tab and the text of a query.")
    return query_id.strip(), text.strip()


def _judge(judged: dict[str, int], number: int, doc_id: str, relevance: str) -> None:
    if not _WHOLE.fullmatch(relevance):
        raise Invalid(f"Line {number}: the relevance is {relevance[:40]!r}; it must be a whole number.")
    value = int(relevance)
    if judged.setdefault(doc_id, value) != value:
        raise Invalid(f"Line {number}: document {doc_id!r} has come before, with relevance {judged[doc_id]}.")
