"""Queries and judgements, as an evaluation and a comparison take them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from api.strings import DocKey, Key, QueryText
from errors import TooLarge
from settings import EVAL_JUDGEMENTS_CEILING, EVAL_QUERIES_CEILING, Settings
from text.judgements import Qrels, Queries

QueriesIn = Annotated[
    dict[Key, QueryText],
    Field(
        fail_fast=True,
        max_length=EVAL_QUERIES_CEILING,
        description="The text of each query, by an id of your choice",
        examples=[{"q1": "Who goes to sea?"}],
    ),
]
QrelsIn = Annotated[
    dict[Key, Annotated[dict[DocKey, int], Field(fail_fast=True, max_length=EVAL_JUDGEMENTS_CEILING)]],
    Field(
        fail_fast=True,
        max_length=EVAL_QUERIES_CEILING,
        description="By the query's id, the relevance of each judged doc_id; 0: not relevant",
        examples=[{"q1": {"doc_123": 1}}],
    ),
]


def check_size(queries: Queries, qrels: Qrels, settings: Settings) -> None:
    """An evaluation over HTTP keeps a connection waiting; `manage.py eval` takes any number."""
    judgements = sum(map(len, qrels.values()))
    for param, size, limit, noun in (
        ("queries", len(queries), settings.max_eval_queries, "queries"),
        ("qrels", judgements, settings.max_eval_judgements, "judgements"),
    ):
        if size > limit:
            raise TooLarge(f"{size} {noun}: at most {limit} are accepted (MAX_EVAL_{noun.upper()}).", param=param)
