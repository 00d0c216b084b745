"""Ask the reranker about the best candidates, but never wait for it longer than the operator allows."""

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

AT_ONCE = 8


class RerankingService:
    """Opens the reranker in the background, when it is first needed or when start_loading() says so."""

    def __init__(self, config: RerankerConfig) -> None:
        self.config = config
        self._reranker: Reranker | None = None
        self._opening = Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="reranker")

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
        """The places that the passages had, the passages, and whether it worked; if it did not they stay in order.

        Those beyond the depth stay behind the others, as they were. Whoever asks has been waiting *since* then on the
        monotonic clock, perhaps for others that were reranked first: that counts.
        """
        best = passages[: self.config.depth]
        unchanged = list(range(len(passages)))
        if not best:
            return unchanged, [], True
        patience = self.config.timeout_seconds - (time.monotonic() - since)
        try:
            scores = self._scores_within(patience, query, [passage.text for passage in best])
        except TimeoutError:
            log.warning("the reranker took longer than %s seconds", self.config.timeout_seconds)
            return unchanged, list(passages), False
        except Exception as error:
            log.warning("the reranker failed: %s", error)
            return unchanged, list(passages), False
        order = sorted(range(len(best)), key=lambda number: (-scores[number], number))
        reranked = [replace(best[number], rerank_score=scores[number]) for number in order]
        return [*order, *unchanged[len(best) :]], [*reranked, *passages[len(best) :]], True

    def _scores_within(self, seconds: float, query: str, texts: list[str]) -> list[float]:
        if seconds <= 0:
            raise TimeoutError
        waiting = self._pool.submit(self._scores, query, texts)
        try:
            return waiting.result(seconds)
        finally:
            waiting.cancel()

    def _scores(self, query: str, texts: list[str]) -> list[float]:
        if self._reranker is None:
            with self._opening:
                self._reranker = self._reranker or open_reranker(self.config)
        return self._reranker.scores(query, texts)
