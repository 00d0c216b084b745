"""How good a ranking is, by the measures of ir_measures, and whether the difference of two may be chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from text.judgements import Qrels, Run

MEASURES = {"nDCG@10": "nDCG@10", "Recall@10": "R@10", "Recall@100": "R@100", "MRR@10": "RR@10"}
"""Our names, and those of ir_measures. nDCG as trec_eval has it: the gain is the relevance itself."""

DEEPEST = 100
TEST = "Student's paired t-test over the queries, two-sided"

Values = Mapping[str, Sequence[float]]
"""By the name of a measure, its value for each query, always in the same order of queries."""


def measured(qrels: Qrels, run: Run) -> Values:
    """For every query of *qrels*, in their order; one that *run* has not found anything for has 0."""
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
    for each in ir_measures.iter_calc(list(names), judged, ranked):
        values[names[each.measure]][each.query_id] = each.value
    return {name: list(of_queries.values()) for name, of_queries in values.items()}


def p_value(one: Sequence[float], other: Sequence[float]) -> float | None:
    """How likely chance alone makes a difference as large; None where the test can say nothing of these queries.

    Of the tests in use this one errs least for means of such measures (Urbano, Lima and Hanjalic, SIGIR 2019).
    """
    differences = np.subtract(one, other)
    if not differences.any():
        return 1.0
    if len(differences) < 2 or np.ptp(differences) < 1e-12:
        return None
    from scipy.stats import ttest_rel

    return float(ttest_rel(one, other).pvalue)


class _Numbers(dict[str, str]):
    """A number for each name: what trec_eval is written in ends a name at a NUL."""

    def __missing__(self, name: str) -> str:
        number = self[name] = str(len(self))
        return number
