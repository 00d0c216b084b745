"""Measures of ir_measures for a ranking, and a significance test for the difference of two rankings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from text.judgements import Qrels, Run

MEASURES = {"nDCG@10": "nDCG@10", "Recall@10": "R@10", "Recall@100": "R@100", "MRR@10": "RR@10"}
"""Our names, and those of ir_measures. nDCG as in trec_eval: the gain is the relevance itself."""

MAX_DEPTH = 100
TEST = "Student's paired t-test over the queries, two-sided"

Values = Mapping[str, Sequence[float]]
"""By name of measure, the values of all queries in a fixed order."""


def measure(qrels: Qrels, run: Run) -> Values:
    """Returns the values of every query of *qrels*, in their order; 0 for a query without results in *run*."""
    import ir_measures

    numbers = _Numbers()
    judged = {
        numbers[query]: {numbers[doc]: max(0, relevance) for doc, relevance in docs.items()}
        for query, docs in qrels.items()
    }
    ranked = {
        numbers[query]: {numbers[doc]: -float(rank) for rank, doc in enumerate(run.get(query, []))} for query in qrels
    }
    names = {ir_measures.parse_measure(theirs): ours for ours, theirs in MEASURES.items()}
    values = {name: dict.fromkeys(judged, 0.0) for name in MEASURES}
    for metric in ir_measures.iter_calc(list(names), judged, ranked):
        values[names[metric.measure]][metric.query_id] = metric.value
    return {name: list(by_query.values()) for name, by_query in values.items()}


def p_value(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Returns the p-value of the paired t-test; None if it is undefined for these values.

    Of the tests in use it errs least for means of such measures (Urbano, Lima and Hanjalic, SIGIR 2019).
    """
    differences = np.subtract(one, other)
    if not differences.any():
        return 1.0
    if len(differences) < 2 or np.ptp(differences) < 1e-12:
        return None
    from scipy.stats import ttest_rel

    return float(ttest_rel(one, other).pvalue)


class _Numbers(dict[str, str]):
    """Numbers names, since trec_eval, in C, would cut a name at a NUL."""

    def __missing__(self, name: str) -> str:
        number = self[name] = str(len(self))
        return number
