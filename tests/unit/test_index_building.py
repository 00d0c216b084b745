"""Each kind of index gives what comparing all vectors gives, however it grew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import index_file
from domain import Ids, Vectors
from errors import DamagedIndex
from half_precision import joined, split, widened
from index_building import Built, Kinds, Rows, built_from
from loaded_index import LoadedIndex

DIMENSION = 24
KINDS = {
    "full": Kinds(full_up_to=10_000, exact_up_to=10_000, recall=0.99),
    "half": Kinds(full_up_to=0, exact_up_to=10_000, recall=0.99),
    "graph": Kinds(full_up_to=0, exact_up_to=0, recall=0.99),
}
KEY, NONE = bytes(32), np.empty(0, np.int64)


def unit_vectors(count: int, *, seed: int) -> Vectors:
    """Every fifth is a copy of the first, so that there are ties."""
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION), np.float32)
    vectors[::5] = np.arange(1, DIMENSION + 1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def build(base: LoadedIndex, ids: Ids, vectors: Vectors, dead: Ids, kinds: Kinds) -> Built:
    return built_from(base, Rows.of(ids, vectors), dead, kinds, check=lambda: None)


def small(kind: str) -> Built:
    return build(LoadedIndex.empty(DIMENSION), np.arange(50), unit_vectors(50, seed=1), NONE, KINDS[kind])


def saved(folder: Path, built: Built, *, can_grow: bool) -> LoadedIndex:
    path = folder / f"{len(list(folder.iterdir()))}.faiss"
    checksum = index_file.write(path, KEY, built.index, built.lower)
    expected = index_file.Expected(
        partition=KEY,
        checksum=bytes.fromhex(checksum),
        dimension=DIMENSION,
        live_count=built.index.live_count,
    )
    return index_file.read(path, expected, can_grow=can_grow)


@pytest.fixture(params=[True, False], ids=["lower halves in memory", "lower halves in the file"])
def keeps_lower(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr(index_file, "KEPT_LOWER_BYTES", 0)
    return bool(request.param)


@pytest.fixture(params=KINDS)
def grown(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    keeps_lower: bool,  # noqa: ARG001, FBT001
) -> Iterator[tuple[LoadedIndex, dict[int, np.ndarray]]]:
    """An index that was built, saved and extended three times, and the vectors that must be in it."""
    kinds, random = KINDS[request.param], np.random.default_rng(7)
    base = LoadedIndex.empty(DIMENSION)
    truth: dict[int, np.ndarray] = {}
    for generation in range(3):
        ids = np.arange(generation, 900, 3)[random.permutation(300)] if generation != 1 else np.arange(1, 900, 3)
        vectors = unit_vectors(300, seed=generation)
        dead = np.sort(random.choice(sorted(truth), 20, replace=False)) if truth else NONE
        order = np.argsort(ids)
        built = build(base, ids[order], vectors[order], dead, kinds)
        truth = {each: vector for each, vector in truth.items() if each not in set(dead.tolist())}
        truth |= dict(zip(ids[order].tolist(), vectors[order], strict=True))
        base = saved(tmp_path, built, can_grow=generation < 2)
    yield base, truth


def test_a_grown_index_has_all_vectors_bit_for_bit(grown: tuple[LoadedIndex, dict[int, np.ndarray]]) -> None:
    index, truth = grown
    ids = index.ids[index.is_alive()]
    order = np.argsort(ids)
    assert ids[order].tolist() == sorted(truth)
    assert (index.vectors()[order] == np.stack([truth[each] for each in sorted(truth)])).all()


@pytest.mark.parametrize("share", [1.0, 0.5, 0.02])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_hits_are_those_of_comparing_all(
    grown: tuple[LoadedIndex, dict[int, np.ndarray]], k: int, share: float
) -> None:
    index, truth = grown
    random = np.random.default_rng(3)
    every = np.array(sorted(truth))
    allowed = None if share == 1.0 else np.sort(random.choice(every, int(share * len(every)), replace=False))
    candidates = every if allowed is None else allowed
    matrix = np.stack([truth[each] for each in candidates.tolist()])
    queries = unit_vectors(9, seed=11)
    scores, ids, is_exact = index.search(queries, k, allowed)
    correct = 0
    for number, query in enumerate(queries):
        exact = np.einsum("ij,j->i", matrix, query)
        best = np.lexsort((candidates, -exact))[: min(k, len(candidates))]
        assert scores[number] == pytest.approx(exact[best], abs=1e-6 if is_exact else 0.05)
        if is_exact:
            assert set(ids[number][scores[number] > exact[best[-1]] + 1e-6]) <= set(candidates[best].tolist())
        correct += int((scores[number] >= exact[best[-1]] - 1e-6).sum())
    if is_exact:  # the first query equals a fifth of all vectors: of those the lowest ids, in order
        same = candidates[(matrix == queries[0]).all(axis=1)]
        assert ids[0][: len(same)].tolist() == same[:k].tolist()
    assert correct >= 0.97 * sum(min(k, len(candidates)) for _ in queries)


def test_one_changed_byte_anywhere_is_noticed(tmp_path: Path) -> None:
    built = build(
        LoadedIndex.empty(DIMENSION), np.arange(50), unit_vectors(50, seed=1), np.empty(0, np.int64), KINDS["graph"]
    )
    path = tmp_path / "one.faiss"
    checksum = index_file.write(path, KEY, built.index, built.lower)
    expected = index_file.Expected(partition=KEY, checksum=bytes.fromhex(checksum), dimension=DIMENSION, live_count=50)
    content = path.read_bytes()
    for position in [*range(128), *range(128, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(DamagedIndex):
            index_file.read(path, expected)


def test_without_lower_halves_a_search_says_that_it_is_not_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_file, "KEPT_LOWER_BYTES", 0)
    built = small("half")
    path = tmp_path / "one.faiss"
    checksum = index_file.write(path, KEY, built.index, built.lower)
    expected = index_file.Expected(partition=KEY, checksum=bytes.fromhex(checksum), dimension=DIMENSION, live_count=50)
    index = index_file.read(path, expected)
    with path.open("r+b") as file:
        file.truncate(len(path.read_bytes()) // 2)
    scores, _, is_exact = index.search(unit_vectors(50, seed=1)[1:2], 5, None)
    assert is_exact is False
    assert scores[0, 0] == pytest.approx(1.0, abs=0.01)


def test_halves_restore_every_float() -> None:
    vectors = unit_vectors(100, seed=5)
    vectors[0, :6] = [0.0, -0.0, 1e-30, -1e-40, 1.0, -1.0]
    upper, lower = split(vectors)
    assert (joined(widened(upper), lower).view(np.uint32) == vectors.view(np.uint32)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_states_the_memory_that_it_takes_of_its_file(
    kind: str,
    tmp_path: Path,
    keeps_lower: bool,  # noqa: FBT001
) -> None:
    built = build(LoadedIndex.empty(DIMENSION), np.arange(2000), unit_vectors(2000, seed=1), NONE, KINDS[kind])
    loaded = saved(tmp_path, built, can_grow=False)
    [file] = tmp_path.iterdir()
    in_memory = file.stat().st_size - (0 if built.lower is None or keeps_lower else built.lower.nbytes)
    assert 0.98 * in_memory < loaded.nbytes < 1.02 * in_memory
