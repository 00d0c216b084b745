"""The filterable fields of a namespace in memory, as dictionary-encoded columns.

A condition is tested on distinct values, not on chunks, and the result is looked up by code. So a filter costs as much
as its fields have distinct values, plus some milliseconds per million chunks.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_, itemgetter, or_
from sys import getsizeof
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from domain import Ids
from text.filters import (
    MISSING,
    PAGE,
    All,
    AnyOf,
    Compares,
    Condition,
    Exists,
    Filter,
    Not,
    OneOf,
    Test,
    holds,
    identity,
    kind,
)

Mask = NDArray[np.bool_]

FEW_RANGES = 1000
_BYTES_PER_VALUE = 200  # besides the value itself
_BYTES_PER_SORTED_VALUE = 12


class ChunkRange(NamedTuple):
    """Chunks with consecutive ids and the same *values*, in the order of a catalog's keys."""

    first_id: int
    length: int
    values: Sequence[Any]


class Column:
    """The values of one key. A value's code is its position among the distinct values, from 1; 0: no such key."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.nbytes = 0
        self._values: list[Any] = [MISSING]
        self._code_of: dict[Hashable, int] = {}
        self._codes = np.empty(0, np.int32)
        self._sorted: dict[str, _SortedValues] = {}

    def extend(self, codes: array[int]) -> None:
        """Append the codes of the next ranges."""
        self._codes = np.concatenate([self._codes, np.array(codes, np.int32)])
        self.nbytes += 4 * len(codes)

    def code(self, value: Any) -> int:
        if value is MISSING:
            return 0
        new = len(self._values)
        code = self._code_of.setdefault(identity(value), new)
        if code == new:
            self._values.append(value)
            self.nbytes += getsizeof(value) + _BYTES_PER_VALUE
        return code

    def holds(self, test: Test, since: int) -> Mask:
        """Whether the test holds, for each range from number *since* on."""
        codes = self._codes[since:]
        is_match = np.zeros(len(self._values), np.bool_)
        match test:
            case Exists():
                is_match[1:] = True
            case OneOf(options) if self.key != PAGE:
                is_match[[self._code_of[value] for value in options if value in self._code_of]] = True
            case Compares(operator, limit) if self.key != PAGE and len(codes) > FEW_RANGES:
                is_match[self._sorted_values(kind(limit)).codes_beyond(operator, limit)] = True
            case _:
                is_used = np.zeros(len(self._values), np.bool_)
                is_used[codes] = True
                for code in np.flatnonzero(is_used[1:]).tolist():
                    is_match[code + 1] = holds(test, self._values[code + 1])
        return is_match[codes]

    def _sorted_values(self, value_kind: str) -> _SortedValues:
        """The values of one kind, updated with those that are new."""
        sorted_values = self._sorted.setdefault(value_kind, _SortedValues())
        new_values = self._values[sorted_values.value_count :]
        sorted_values.add(
            [
                (value, code)
                for code, value in enumerate(new_values, sorted_values.value_count)
                if kind(value) == value_kind
            ]
        )
        self.nbytes += _BYTES_PER_SORTED_VALUE * len(new_values)
        sorted_values.value_count = len(self._values)
        return sorted_values


class _SortedValues:
    """Values of one kind, ascending, with their codes: limits are found by bisection."""

    def __init__(self) -> None:
        self.value_count = 0
        self._values: list[Any] = []
        self._codes = np.empty(0, np.int32)

    def add(self, pairs: list[tuple[Any, int]]) -> None:
        if not pairs:
            return
        pairs = sorted(pairs, key=itemgetter(0))
        positions = [bisect_left(self._values, value) for value, _ in pairs]
        values: list[Any] = []
        for start, end, (value, _) in zip([0, *positions], positions, pairs, strict=False):
            values += self._values[start:end]
            values.append(value)
        self._values = values + self._values[positions[-1] :]
        self._codes = np.insert(self._codes, positions, [code for _, code in pairs])

    def codes_beyond(self, operator: str, limit: Any) -> NDArray[np.int32]:
        """The codes of the values that satisfy *operator* with *limit*."""
        bisect = bisect_left if operator in ("gte", "lt") else bisect_right
        position = bisect(self._values, limit)
        return self._codes[position:] if operator in ("gt", "gte") else self._codes[:position]


@dataclass(slots=True)
class _Result:
    """Which of the first ranges a filter matches, and their chunks at *seq*."""

    mask: Mask
    ids: Ids
    seq: int

    @property
    def nbytes(self) -> int:
        return self.mask.nbytes + self.ids.nbytes


class Catalog:
    """The ranges of a namespace's live chunks at *seq*, and their values of some keys.

    Ranges are only ever appended, so a cached result is extended, not recomputed. Dead chunks stay until the catalog
    is loaded anew; searches skip them.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self.columns = {key: Column(key) for key in keys}
        self.seq = 0
        self.initial_size = 0
        self._first_ids: Ids = np.empty(0, np.int64)
        self._counts: Ids = np.empty(0, np.int64)
        self._is_latest: Mask = np.empty(0, np.bool_)
        self._results: OrderedDict[Filter, _Result] = OrderedDict()

    def __len__(self) -> int:
        return len(self._first_ids)

    @property
    def nbytes(self) -> int:
        result_bytes = sum(result.nbytes for result in self._results.values())
        return 17 * len(self) + result_bytes + sum(column.nbytes for column in self.columns.values())

    def add(self, ranges: Iterable[ChunkRange], *, seq: int) -> None:
        """Append what was published up to *seq*. Ranges with a known first id replace earlier ones."""
        first_ids, counts = array("q"), array("q")
        codes = [(column.code, array("i")) for column in self.columns.values()]
        for first_id, length, values in ranges:
            first_ids.append(first_id)
            counts.append(length)
            for (code, column_codes), value in zip(codes, values, strict=True):
                column_codes.append(code(value))
        self._is_latest &= ~np.isin(self._first_ids, first_ids)
        self._first_ids = np.concatenate([self._first_ids, first_ids])
        self._counts = np.concatenate([self._counts, counts])
        self._is_latest = np.concatenate([self._is_latest, np.ones(len(first_ids), np.bool_)])
        for column, (_, column_codes) in zip(self.columns.values(), codes, strict=True):
            column.extend(column_codes)
        self.initial_size = self.initial_size or len(self)
        self.seq = seq

    def allowed(self, chunk_filter: Filter) -> Ids:
        """The ids of the chunks that a filter matches, ascending; the same array until something changes."""
        result = self._results.get(chunk_filter)
        if result is None or result.seq != self.seq:
            mask = np.empty(0, np.bool_) if result is None else result.mask
            mask = np.concatenate([mask, self._mask(chunk_filter, len(mask))])
            result = self._results[chunk_filter] = _Result(mask, self._ids(mask & self._is_latest), self.seq)
        self._results.move_to_end(chunk_filter)
        return result.ids

    def evict_results(self, max_bytes: int) -> None:
        """Evict least recently used results until the others fit into *max_bytes*."""
        total = sum(result.nbytes for result in self._results.values())
        while total > max_bytes and len(self._results) > 1:
            total -= self._results.popitem(last=False)[1].nbytes

    def _mask(self, chunk_filter: Filter, since: int) -> Mask:
        match chunk_filter:
            case Condition(key, test):
                return self.columns[key].holds(test, since)
            case All(parts):
                return reduce(and_, (self._mask(part, since) for part in parts))
            case AnyOf(parts):
                return reduce(or_, (self._mask(part, since) for part in parts))
            case Not(part):
                return ~self._mask(part, since)

    def _ids(self, mask: Mask) -> Ids:
        first_ids, counts = self._first_ids[mask], self._counts[mask]
        ends = np.cumsum(counts)
        ids: Ids = np.repeat(first_ids - ends + counts, counts) + np.arange(ends[-1] if len(ends) else 0)
        ids.sort()
        ids.flags.writeable = False
        return ids
