"""What the benchmarks judge by: recall against all vectors, and ratios against the last ones kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.history import KeptRun, compare
from bench.own import ExactAnswers, OwnDocument

RUN = KeptRun("2026-01-01T00:00Z", "abc", "a machine", "versions", {"search": 1.5, "upsert": 1.0})


@pytest.mark.parametrize(("search", "is_worse"), [(1.5, False), (1.9, False), (2.1, True), (0.5, False)])
def test_a_run_is_worse_if_one_ratio_grew_by_more_than_noise(search: float, is_worse: object) -> None:
    assert compare(replace(RUN, ratios={"search": search, "upsert": 1.0}), RUN) is is_worse


def test_a_first_run_and_a_new_ratio_have_nothing_to_be_worse_than(capsys: pytest.CaptureFixture[str]) -> None:
    assert not compare(RUN, None)
    assert not compare(replace(RUN, ratios={"restart": 9.0}), RUN)
    assert "WORSE" not in capsys.readouterr().out


def test_recall_counts_the_nearest_once_and_takes_equal_scores_for_each_other() -> None:
    truth = ExactAnswers()
    truth.add([OwnDocument("a", ["", "", "", ""], np.eye(4, dtype=np.float32)[[0, 0, 1, 2]])])
    query = np.array([[1, 0.5, 0, 0]], np.float32)
    first, second, near, far = truth.ids
    assert truth.recall(query, [[first, second]], top_k=2) == 1
    assert truth.recall(query, [[first, first]], top_k=2) == 0.5
    assert truth.recall(query, [[second, near]], top_k=1) == 1
    assert truth.recall(query, [[far]], top_k=1) == 0
