"""What a filter means, however it is written, against an oracle; and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import Invalid
from services.search.filters import catalog
from services.search.filters.catalog import Catalog, ChunkRange
from tests.support.examples import examples
from tests.support.filter_oracle import Expression, expressions, in_mongo, in_objects, is_match, metadata
from text.filter_spellings import MAX_BYTES, MAX_CONDITIONS, MAX_DEPTH, parse
from text.filters import METADATA, Filter, conditions, identity, lookup, matches


def parsed(sent: dict[str, Any]) -> Filter:
    parsed_filter = parse(sent)
    assert parsed_filter is not None
    return parsed_filter


def run(into: Catalog, first_id: int, length: int, said: dict[str, Any]) -> ChunkRange:
    return ChunkRange(first_id, length, [lookup({METADATA: said}, key) for key in into.columns])


@examples(500)
@given(expressions, metadata)
def test_both_spellings_mean_what_the_oracle_says(expression: Expression, said: dict[str, Any]) -> None:
    expected = is_match(expression, said)
    assert matches(parsed(in_mongo(expression)), {"metadata": said}) is expected
    assert matches(parsed(in_objects(expression)), {"metadata": said}) is expected


@examples(200)
@given(
    st.lists(expressions, min_size=1, max_size=3),
    st.lists(metadata, max_size=8),
    st.integers(0, 8),
    st.sampled_from([0, catalog.FEW_RANGES]),
)
def test_a_catalog_finds_what_the_oracle_finds_also_where_it_grew(
    drawn: list[Expression], said: list[dict[str, Any]], first: int, few: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:  # many runs are looked up otherwise than few
        patch.setattr(catalog, "FEW_RANGES", few)
        compare(drawn, said, first)


def compare(drawn: list[Expression], said: list[dict[str, Any]], first: int) -> None:
    filters = [parsed(in_mongo(expression)) for expression in drawn]
    kept = Catalog(condition.key for each in filters for condition in conditions(each))
    runs = [run(kept, 10 * number, 1 + number % 3, each) for number, each in enumerate(said)]
    for upto in (min(first, len(runs)), len(runs)):
        kept.add(runs[len(kept) : upto], seq=upto + 1)
        for expression, parsed_filter in zip(drawn, filters, strict=True):
            matching = [each for each, of in zip(runs[:upto], said, strict=False) if is_match(expression, of)]
            expected = [each.first_id + place for each in matching for place in range(each.length)]
            assert kept.allowed(parsed_filter).tolist() == expected


def test_chunks_that_are_described_anew_are_found_by_what_they_say_now() -> None:
    kept = Catalog(["a"])
    kept.add([ChunkRange(0, 2, [1]), ChunkRange(2, 2, [1])], seq=1)
    assert kept.allowed(parsed({"a": 1})).tolist() == [0, 1, 2, 3]
    kept.add([ChunkRange(0, 2, [True])], seq=2)
    assert kept.allowed(parsed({"a": 1})).tolist() == [2, 3]
    assert kept.allowed(parsed({"a": True})).tolist() == [0, 1]


def test_a_filter_costs_the_same_array_until_something_changes() -> None:
    kept = Catalog(["a"])
    kept.add([ChunkRange(n, 1, [n]) for n in range(100)], seq=1)
    first = kept.allowed(parsed({"a": {"$lt": 50}}))
    assert kept.allowed(parsed({"a": {"$lt": 50}})) is first
    assert kept.allowed(parsed({"a": {"$lt": 50.0}})) is first
    kept.evict_results(0)
    kept.add([], seq=2)
    assert np.array_equal(kept.allowed(parsed({"a": {"$lt": 50}})), first)


def test_a_limit_is_looked_up_and_no_value_compared_with_it_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    def compared(*_: Any) -> bool:
        raise AssertionError("Every one of a million values would be.")

    kept = Catalog(["at"])
    kept.add([ChunkRange(n, 1, [n]) for n in range(5000)], seq=1)
    monkeypatch.setattr(catalog, "holds", compared)
    for limit in (0, 7, 4999, 5000):
        assert len(kept.allowed(parsed({"at": {"$gte": limit}}))) == 5000 - limit


def test_a_page_is_any_of_those_that_a_chunk_is_on() -> None:
    fields = {"page": range(3, 6), "metadata": {"page": "iv"}}
    for sent in ({"page": 4}, {"page": {"$gte": 5}}, {"page": {"$lt": 4}}, {"page": {"$in": [1, 5.0]}}):
        assert matches(parsed(sent), fields)
    for unwanted in ({"page": 6}, {"page": {"$ne": 4}}, {"page": "4"}, {"page": {"$exists": False}}):
        assert not matches(parsed(unwanted), fields)
    assert matches(parsed({"metadata.page": "iv"}), fields)
    assert matches(parsed({"page": {"$ne": 4}}), {"page": None, "metadata": {}})


WRONG = [
    ({"year": {"$near": 1}}, "filters.year.$near", "$near"),
    ({"$nor": [{"a": 1}]}, "filters.$nor", "$nor"),
    ({"type": "like", "key": "a", "value": 1}, "filters.type", "like"),
    ({"$or": [{"a": 1}, {"type": "and", "filters": [{"b": {"$regex": "x"}}]}]}, "filters.$or.1.filters.0.b.$regex", ""),
    ({"a": {"b": 1}}, "filters.a", "a.field"),
    ({"a": {}}, "filters.a", "operators"),
    ({"a": {"gte": 1}}, "filters.a", '"$gte": 2020}, not {"gte": 1}'),
    ({"a": {"$not": 1}}, "filters.a.$not", "operators"),
    ({"$and": []}, "filters.$and", "at least one"),
    ({"$or": {"a": 1}}, "filters.$or", "list"),
    ({"$not": {}}, "filters.$not", "object"),
    ({"a": {"$in": 3}}, "filters.a.$in", "a list"),
    ({"a": {"$exists": 1}}, "filters.a.$exists", "true or false"),
    ({"a": {"$gt": True}}, "filters.a.$gt", "a number or a string"),
    ({"a": {"$gt": None}}, "filters.a.$gt", "null"),
    ({"created_at": {"$gt": 5}}, "filters.created_at.$gt", "a time"),
    ({"created_at": {"$gt": 1700000000}}, "filters.created_at.$gt", "metadata.created_at"),
    ({"updated_at": "yesterday"}, "filters.updated_at", "a time"),
    ({"page": {"$contains": 1}}, "filters.page.$contains", "neither text nor list"),
    ({"type": "eq", "key": "a"}, "filters", "value"),
    ({"type": "eq", "value": 1}, "filters", "key"),
    ({"type": "article", "key": "a"}, "filters.type", '{"type": {"$eq": "article"}}'),
    ({"key": "a", "value": 1, "operator": "=="}, "filters.type", "needs a type"),
    ({"$or": [{"filters": [{"key": "a", "value": 1}], "condition": "and"}]}, "filters.$or.0.type", "needs a type"),
    ({"type": "eq", "key": 1, "value": 1}, "filters.key", "a field's name"),
    ({"type": "not", "filters": [{"a": 1}]}, "filters", "filter"),
    ({"a": {"$in": ["x" * MAX_BYTES]}}, "filters", "bytes"),
    ({"$or": [{"a": n} for n in range(MAX_CONDITIONS + 1)]}, "filters", "$in"),
]


@pytest.mark.parametrize(("sent", "param", "message"), WRONG, ids=[param for _, param, _ in WRONG])
def test_what_is_wrong_is_named_with_its_place(sent: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(sent)
    assert caught.value.param == param
    assert message in str(caught.value)


def test_a_time_is_the_same_however_it_is_written() -> None:
    fields = {"created_at": datetime(2024, 2, 29, 23, 30, tzinfo=UTC)}
    for same in (
        "2024-02-29T23:30:00Z",
        "2024-02-29t23:30z",
        "2024-03-01T05:00+05:30",
        "2024-02-29 23:30",
        "20240229T2330",
    ):
        assert matches(parsed({"created_at": same}), fields)
        assert matches(parsed({"type": "lte", "key": "created_at", "value": same}), fields)
        assert not matches(parsed({"created_at": {"$gt": same}}), fields)


def test_fields_may_have_the_names_that_typed_objects_use() -> None:
    said = {"type": "sensor", "value": 5, "key": "k", "filters": ["x"], "operator": "=="}
    for sent in ({"type": "sensor", "value": 5}, {"key": "k", "value": 5}, {"filters": ["x"], "operator": "=="}):
        assert matches(parsed(sent), {"metadata": said})


def test_integers_do_not_share_their_hashes_whoever_chose_them() -> None:
    """Python's are remainders of this prime: a column of its multiples would be looked through for each of them."""
    chosen = [number * (2**61 - 1) for number in range(1000)]
    assert len({hash(identity(number)) for number in chosen}) > 990
    assert identity(10**30) != identity(1e30) == identity(int(1e30))
    assert identity(-(2**70)) == identity(-(2.0**70)) != identity(2**70)


def test_a_filter_may_not_be_nested_without_end() -> None:
    deep: Any = {"a": 1}
    for _ in range(5000):
        deep = {"$not": deep}
    for sent in (deep, {"a": {"$eq": [deep]}}):
        with pytest.raises(Invalid, match=f"deeper than {MAX_DEPTH}"):
            parse(sent)


def test_no_filter_asks_nothing() -> None:
    assert parse(None) is parse({}) is None
