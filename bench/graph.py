"""What the graph finds beyond INDEX_EXACT_UP_TO, with filters and without: ``python -m bench.graph [--chunks 55000]``.

Vectors are real: passages that people wrote (bench/prose.py) are embedded by the worker as in life, which takes most
of the time, and asked for by words of theirs. Filters that leave many chunks are walked along the graph, those that
leave few are compared one by one; recall is against an exact search of what is allowed.
"""

from __future__ import annotations

import argparse

from bench import filtered, prose
from bench.corpus import fill_with, scratch
from bench.filtered import EVERYTHING, ONE_PERCENT, ONE_ROW, UNFILTERED, BenchQuestions, below
from bench.server import served

NAMESPACE = "prose"
FILTERS = {
    UNFILTERED: EVERYTHING,
    "90 %": below(90),
    "50 %": below(50),
    "10 %": below(10),
    "1 %": ONE_PERCENT,
    "one row": ONE_ROW,
}


def main() -> None:
    options = _options()
    written = prose.passages(options.chunks)
    with scratch() as (folder, runtime):
        most = runtime.settings.index_exact_up_to
        print(f"embedding {options.chunks:,} passages; the graph begins beyond {most:,}", flush=True)
        fill_with(runtime, NAMESPACE, written, is_embedded=True)
        with served(runtime.settings, folder) as port:
            print(f"{f'top_k {filtered.TOP_K}; ms, p50 / p95':40} {filtered.HEADINGS}")
            questions = BenchQuestions(NAMESPACE, prose.questions(written, seed=1))
            filtered.report(runtime, port, questions, options.requests, filters=FILTERS)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chunks", type=int, default=55_000)
    parser.add_argument("--requests", type=int, default=100, help="of each filter")
    return parser.parse_args()


if __name__ == "__main__":
    main()
