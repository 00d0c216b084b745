"""Reranks the best candidates, within the time limit that the operator set."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Lock

from engines.rerankers.base import Reranker
from engines.rerankers.opening import RerankerConfig, open_reranker
from services.search.question import Passage

log = logging.getLogger(__name__)

MAX_CONCURRENT = 8


class RerankingService:
    """Loads the reranker in the background, at first use or by start_loading()."""

    def __init__(self, config: RerankerConfig) -> None:
        self.config = config
        self._reranker: Reranker | None = None
        self._load_lock = Lock()
        self._pool = ThreadPoolExecutor(MAX_CONCURRENT, thread_name_prefix="reranker")

    @property
    def is_set(self) -> bool:
        return self.config.is_set

    def start_loading(self) -> None:
        if self.is_set:
            self._pool.submit(self._scores, "warm", ["up"])

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._reranker is not None:
            self._reranker.close()

    def rerank(self, query: str, passages: Sequence[Passage], *, since: float) -> tuple[list[int], list[Passage], bool]:
        """The passages' old positions, the passages in their new order (unchanged on failure), and whether it worked.

        Passages beyond the depth follow in their previous order. The time limit starts at *since*, on the monotonic
        clock, so that it includes the time in the queue.
        """
        best = passages[: self.config.depth]
        unchanged = list(range(len(passages)))
        if not best:
            return unchanged, [], True
        seconds_left = self.config.timeout_seconds - (time.monotonic() - since)
        try:
            scores = self._scores_within(seconds_left, query, [passage.text for passage in best])
        except TimeoutError:
            log.warning("the reranker took longer than %s seconds", self.config.timeout_seconds)
            return unchanged, list(passages), False
        except Exception as error:
            log.warning("the reranker failed: %s", error)
            return unchanged, list(passages), False
        order = sorted(range(len(best)), key=lambda position: (-scores[position], position))
        reranked = [replace(best[position], rerank_score=scores[position]) for position in order]
        return [*order, *unchanged[len(best) :]], [*reranked, *passages[len(best) :]], True

    def _scores_within(self, seconds: float, query: str, texts: list[str]) -> list[float]:
        if seconds <= 0:
            raise TimeoutError
        pending = self._pool.submit(self._scores, query, texts)
        try:
            return pending.result(seconds)
        finally:
            pending.cancel()

    def _scores(self, query: str, texts: list[str]) -> list[float]:
        if self._reranker is None:
            with self._load_lock:
                self._reranker = self._reranker or open_reranker(self.config)
        return self._reranker.scores(query, texts)
