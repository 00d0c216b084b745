"""How two rankings agree, against the measures' definitions and by hand; and the gates that look at the figures."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from errors import Invalid
from services.evaluation.agreement import PERSISTENCE, Agreement, percentile, rank_biased_overlap
from services.index.gates import failing, read_gates

LETTERS = "abcdefghijklmnop"


def by_definition(one: list[str], other: list[str], p: float) -> float:
    """The infinite sum, with the agreement of the seen parts going on beyond them."""
    shorter, longer = sorted((one, other), key=len)
    s, end = len(shorter), len(longer)

    def agreement(depth: int) -> float:
        seen = min(depth, end)
        shared = len(set(shorter[:seen]) & set(longer[:seen]))
        assumed = shared + len(set(shorter) & set(longer[:s])) / s * max(seen - s, 0)
        return assumed / seen

    return sum((1 - p) * p ** (depth - 1) * agreement(depth) for depth in range(1, 400))


def test_rank_biased_overlap_is_the_sum_that_defines_it() -> None:
    rng = random.Random(5)
    for _ in range(60):
        one, other = (rng.sample(LETTERS, rng.randint(1, 12)) for _ in range(2))
        p = rng.choice([0.5, 0.8, PERSISTENCE])
        assert rank_biased_overlap(one, other, p) == pytest.approx(by_definition(one, other, p), abs=1e-9)
        assert rank_biased_overlap(one, other, p) == rank_biased_overlap(other, one, p)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("abc", "abc", 1.0), ("abc", "def", 0.0), ("abc", "cba", 0.855), ("", "", 1.0), ("", "abc", 0.0)],
)
def test_rank_biased_overlap_of_rankings_that_are_computed_by_hand(one: str, other: str, expected: float) -> None:
    assert rank_biased_overlap(list(one), list(other)) == pytest.approx(expected)


def test_the_measures_of_two_rankings_that_are_computed_by_hand() -> None:
    agreement = Agreement.of(list("abcd"), list("caxyz"), k=4)  # of the second: c a x y
    assert (agreement.overlap, agreement.jaccard, agreement.same_top) == (0.5, 2 / 6, False)
    assert agreement.rank_shift == (1 + 2) / 2  # a from 0 to 1, c from 2 to 0
    assert Agreement.of([], [], k=4) == Agreement(1.0, 1.0, 1.0, same_top=True, rank_shift=None)
    nothing = Agreement.of(list("ab"), [], k=4)
    assert (nothing.overlap, nothing.jaccard, nothing.rbo, nothing.rank_shift) == (0.0, 0.0, 0.0, None)


def test_a_percentile_is_the_nearest_rank() -> None:
    values = [float(number) for number in islice(range(1, 101), 100)]
    assert [percentile(values, share) for share in (0.5, 0.95, 1.0)] == [50.0, 95.0, 100.0]
    assert percentile([7.0], 0.95) == 7.0


FIGURES = {"against": "initial", "overlap": 0.7, "ndcg_drop": None, "p95_ratio": 1.5}


@pytest.mark.parametrize(
    ("gates", "figures", "reasons"),
    [
        ({}, None, []),
        ({"min_overlap": 0.7, "max_p95_ratio": 1.5}, FIGURES, []),
        ({"min_overlap": 0.8, "max_p95_ratio": 1.2}, FIGURES, ["max_p95_ratio: 1.500", "min_overlap: 0.700"]),
        ({"max_ndcg_drop": 0.01}, FIGURES, ["no judgements"]),
        ({"max_ndcg_drop": 0.01}, {**FIGURES, "ndcg_drop": 0.02}, ["at most 0.01 is required"]),
        ({"max_ndcg_drop": 0.01}, {**FIGURES, "ndcg_drop": -0.02}, []),
        ({"min_overlap": 0.5}, None, ["never compared"]),
        ({"min_overlap": 0.5}, {**FIGURES, "against": "other"}, ["'other', and 'initial' serves"]),
    ],
)
def test_each_gate_that_is_missed_is_named(
    gates: dict[str, float], figures: dict[str, object] | None, reasons: list[str]
) -> None:
    sentences = failing(gates, figures, against="initial")
    assert len(sentences) == len(reasons)
    assert all(reason in sentence for reason, sentence in zip(reasons, sentences, strict=True))


@pytest.mark.parametrize(
    "line", ["min_overlap", "min_overlap=high", "min_recall=0.5", "min_overlap=2", "max_p95_ratio=0"]
)
def test_a_gate_that_makes_no_sense_is_refused(line: str) -> None:
    with pytest.raises(Invalid):
        read_gates([line])


def test_gates_are_read_from_the_command_line() -> None:
    assert read_gates(["min_overlap=0.8", "max_p95_ratio=2"]) == {"min_overlap": 0.8, "max_p95_ratio": 2.0}
