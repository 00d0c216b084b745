"""An answerer without a language model: it quotes what is nearest to the question in the passage that ranks first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence

from engines.answerers.base import Ending, Prompt
from engines.embedders.base import Embedder
from errors import ServiceError
from text.citations import quotable
from text.quoting import Quote, quotes, shared_words

log = logging.getLogger(__name__)

_FEWEST_WORDS = 0.5
"""Of those that the best quote shares with the question: meaning could not make up for fewer."""
_COMPARED = 3
_COMPARED_WITHOUT_WORDS = 8
_QUOTED = 3
_FARTHEST_BEHIND = 0.15


class ExtractiveAnswerer:
    """*embedder_of* opens the model of an embedding version, so that sentences are compared as chunks are."""

    model = "extractive"

    def __init__(self, embedder_of: Callable[[str], Embedder]) -> None:
        self._embedder_of = embedder_of

    async def answer(self, prompt: Prompt) -> AsyncGenerator[str | Ending, None]:
        excerpt = prompt.excerpts[0]
        for position, quote in enumerate(await asyncio.to_thread(self._nearest, prompt, excerpt.text)):
            yield ("\n" if position else "") + f"“{quotable(quote.text)}” [{excerpt.number}]"
        yield Ending("stop")

    def _nearest(self, prompt: Prompt, passage: str) -> list[Quote]:
        """The nearest quotes, in passage order, without any far behind the best.

        Words choose which are compared by meaning too: to embed ten sentences takes longer than a whole search.
        """
        candidates = quotes(passage)
        shares = shared_words(prompt.question, candidates)
        count = _COMPARED if any(shares) else _COMPARED_WITHOUT_WORDS
        near = [position for position, share in enumerate(shares) if share >= _FEWEST_WORDS or not any(shares)]
        best = sorted(near, key=lambda position: -shares[position])[:count]
        scores = self._scores(prompt, [candidates[position] for position in best], [shares[each] for each in best])
        by_position = dict(zip(best, scores, strict=True))
        nearest = sorted(best, key=lambda position: -by_position[position])[:_QUOTED]
        lowest = by_position[nearest[0]] - _FARTHEST_BEHIND
        return [candidates[position] for position in sorted(nearest) if by_position[position] >= lowest]

    def _scores(self, prompt: Prompt, compared: Sequence[Quote], shares: Sequence[float]) -> Sequence[float]:
        """The mean of words and meaning, as in a hybrid search; of words alone while the model fails."""
        if len(compared) == 1:
            return shares
        try:
            embedder = self._embedder_of(prompt.embedding_version)
            vectors = embedder.embed_documents([each.text for each in compared])
            cosines: list[float] = (vectors @ embedder.embed_queries([prompt.question])[0]).tolist()
        except ServiceError as error:
            log.warning("words alone choose the quotes: %s", error)
            return shares
        weight = embedder.fitness(prompt.question).weight if any(shares) else 1.0
        return [
            (weight * cosine + share) / (weight + any(shares)) for cosine, share in zip(cosines, shares, strict=True)
        ]
