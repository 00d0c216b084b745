"""What is open in memory is limited by its bytes; using a partition costs the same however many are open."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from domain import Partition
from index_building import Kinds
from index_manager import IndexManager

DIMENSION, ROWS = 8, 64
KINDS = Kinds(full_up_to=10, exact_up_to=10, recall=0.99)
BYTES = ROWS * DIMENSION * 4


def grow(indexes: IndexManager, number: int, *, dimension: int = DIMENSION) -> None:
    """Adds as many vectors as the tail has room for from the start."""
    with indexes.partition(Partition(1, number, "v"), dimension) as partition:
        first = partition.live_count
        ids, vectors = np.arange(first, first + ROWS), np.ones((ROWS, dimension), np.float32)
        partition.apply(appeared=ids, vectors=vectors, disappeared=np.empty(0, np.int64), seq=partition.applied_seq + 1)


def live(indexes: IndexManager, number: int) -> int:
    with indexes.partition(Partition(1, number, "v"), DIMENSION) as partition:
        return partition.live_count


def test_the_least_recently_used_leaves_when_another_grows(tmp_path: Path) -> None:
    indexes = IndexManager(tmp_path, KINDS, memory_bytes=3 * BYTES)
    for number in (0, 1, 2):
        grow(indexes, number)
    assert live(indexes, 0) == ROWS
    grow(indexes, 3)
    assert [live(indexes, number) for number in (0, 2, 3)] == [ROWS, ROWS, ROWS]
    assert live(indexes, 1) == 0
    grow(indexes, 0)
    assert live(indexes, 0) == 2 * ROWS
    assert sum(live(indexes, number) for number in range(4)) == 3 * ROWS


def test_one_that_is_larger_than_the_limit_stays_alone(tmp_path: Path) -> None:
    indexes = IndexManager(tmp_path, KINDS, memory_bytes=BYTES)
    grow(indexes, 0)
    grow(indexes, 0)
    assert live(indexes, 0) == 2 * ROWS


def test_a_version_of_another_dimension_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    indexes = IndexManager(tmp_path, KINDS, memory_bytes=2 * BYTES)
    for _ in range(5):
        grow(indexes, 0, dimension=DIMENSION // 2)
        grow(indexes, 0)
    grow(indexes, 1)
    assert [live(indexes, number) for number in (0, 1)] == [ROWS, ROWS]
