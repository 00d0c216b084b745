"""What filters ask about a namespace, in memory: column by column, each value kept once.

A condition is tested on the values that there are, not on the chunks, and its result looked up for each of them. So a
filter costs what its fields have of different values, plus some milliseconds for a million chunks.
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

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]

FEW_RANGES = 1000
_BYTES_PER_VALUE = 200  # besides the value itself
_BYTES_IN_ORDER = 12


class ChunkRange(NamedTuple):
    """Chunks whose numbers follow each other and that say the same: *told* are their values of a catalog's keys."""

    first_id: int
    length: int
    values: Sequence[Any]


class Column:
    """The values of one key. A code is a value's place in them, from 1 on; 0 stands for a key that is not there."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.nbytes = 0
        self._values: list[Any] = [MISSING]
        self._code_of: dict[Hashable, int] = {}
        self._codes = np.empty(0, np.int32)
        self._orders: dict[str, _InOrder] = {}

    def extend(self, codes: array[int]) -> None:
        """By what the next runs say: what code() gave for it."""
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
        """Of each run from number *since* on, whether the test holds."""
        codes = self._codes[since:]
        is_so = np.zeros(len(self._values), np.bool_)
        match test:
            case Exists():
                is_so[1:] = True
            case OneOf(wanted) if self.key != PAGE:
                is_so[[self._code_of[value] for value in wanted if value in self._code_of]] = True
            case Compares(operator, limit) if self.key != PAGE and len(codes) > FEW_RANGES:
                is_so[self._in_order(kind(limit)).beyond(operator, limit)] = True
            case _:
                is_there = np.zeros(len(self._values), np.bool_)
                is_there[codes] = True
                for code in np.flatnonzero(is_there[1:]).tolist():
                    is_so[code + 1] = holds(test, self._values[code + 1])
        return is_so[codes]

    def _in_order(self, wanted: str) -> _InOrder:
        """The values of that kind."""
        kept = self._orders.setdefault(wanted, _InOrder())
        came = self._values[kept.seen :]
        kept.add([(value, code) for code, value in enumerate(came, kept.seen) if kind(value) == wanted])
        self.nbytes += _BYTES_IN_ORDER * len(came)
        kept.seen = len(self._values)
        return kept


class _InOrder:
    """Values of one kind, ascending, with their codes: a limit is looked up, and no value compared with it in turn."""

    def __init__(self) -> None:
        self.seen = 0
        self._values: list[Any] = []
        self._codes = np.empty(0, np.int32)

    def add(self, came: list[tuple[Any, int]]) -> None:
        if not came:
            return
        came = sorted(came, key=itemgetter(0))
        places = [bisect_left(self._values, value) for value, _ in came]
        values: list[Any] = []
        for start, end, (value, _) in zip([0, *places], places, came, strict=False):
            values += self._values[start:end]
            values.append(value)
        self._values = values + self._values[places[-1] :]
        self._codes = np.insert(self._codes, places, [code for _, code in came])

    def beyond(self, operator: str, limit: Any) -> NDArray[np.int32]:
        """The codes of the values on that side of the limit."""
        find = bisect_left if operator in ("gte", "lt") else bisect_right
        place = find(self._values, limit)
        return self._codes[place:] if operator in ("gt", "gte") else self._codes[:place]


@dataclass(slots=True)
class _Result:
    """Which of the first runs a filter matches, and the chunks of those at the catalog's *seq*."""

    mask: Mask
    ids: Ids
    seq: int

    @property
    def nbytes(self) -> int:
        return self.mask.nbytes + self.ids.nbytes


class Catalog:
    """The runs of a namespace's live chunks at *seq*, and what they say under some keys.

    Runs are only ever added: a result is kept, and goes on where it ended. Chunks that died stay until the catalog is
    read anew; whoever searches passes over them.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self.columns = {key: Column(key) for key in keys}
        self.seq = 0
        self.first_size = 0
        self._first_ids: Ids = np.empty(0, np.int64)
        self._counts: Ids = np.empty(0, np.int64)
        self._is_current: Mask = np.empty(0, np.bool_)
        self._results: OrderedDict[Filter, _Result] = OrderedDict()

    def __len__(self) -> int:
        return len(self._first_ids)

    @property
    def nbytes(self) -> int:
        kept = sum(result.nbytes for result in self._results.values())
        return 17 * len(self) + kept + sum(column.nbytes for column in self.columns.values())

    def add(self, runs: Iterable[ChunkRange], *, seq: int) -> None:
        """Take over what was published up to *seq*. Chunks that are there already have been described anew."""
        first_ids, counts = array("q"), array("q")
        codes = [(column.code, array("i")) for column in self.columns.values()]
        for first_id, length, values in runs:
            first_ids.append(first_id)
            counts.append(length)
            for (code, some), value in zip(codes, values, strict=True):
                some.append(code(value))
        self._is_current &= ~np.isin(self._first_ids, first_ids)
        self._first_ids = np.concatenate([self._first_ids, first_ids])
        self._counts = np.concatenate([self._counts, counts])
        self._is_current = np.concatenate([self._is_current, np.ones(len(first_ids), np.bool_)])
        for column, (_, some) in zip(self.columns.values(), codes, strict=True):
            column.extend(some)
        self.first_size = self.first_size or len(self)
        self.seq = seq

    def allowed(self, wanted: Filter) -> Ids:
        """The numbers of the chunks that a filter matches, ascending: the same array until something changes."""
        kept = self._results.get(wanted)
        if kept is None or kept.seq != self.seq:
            mask = np.empty(0, np.bool_) if kept is None else kept.mask
            mask = np.concatenate([mask, self._mask(wanted, len(mask))])
            kept = self._results[wanted] = _Result(mask, self._ids(mask & self._is_current), self.seq)
        self._results.move_to_end(wanted)
        return kept.ids

    def forget_results(self, most_bytes: int) -> None:
        """Those asked for longest ago, until the others take no more than that."""
        total = sum(result.nbytes for result in self._results.values())
        while total > most_bytes and len(self._results) > 1:
            total -= self._results.popitem(last=False)[1].nbytes

    def _mask(self, wanted: Filter, since: int) -> Mask:
        match wanted:
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
