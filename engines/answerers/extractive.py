"""The answerer that needs no language model: it quotes the sentences that are nearest to the question."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass

from domain import Excerpt
from engines.answerers.base import Ending, Prompt
from engines.embedders.base import Embedder
from text.chunkers.borders import sentences
from text.citations import quotable

_MOST_SENTENCES = 64
_LONGEST_CHARS = 600
_QUOTED = 3
_FARTHEST_BEHIND = 0.15
_SHORTEST_CHARS = 25
_STOPS = ".!?…。！？｡।॥؟۔։።။\"'”’»)]」』"  # noqa: RUF001 (these very marks are meant)


@dataclass(frozen=True, slots=True)
class _Sentence:
    number: int
    text: str


class ExtractiveAnswerer:
    """*embedder_of* opens the model of an embedding version: sentences are compared as chunks are."""

    model = "extractive"

    def __init__(self, embedder_of: Callable[[str], Embedder]) -> None:
        self._embedder_of = embedder_of

    async def answer(self, asked: Prompt) -> AsyncGenerator[str | Ending, None]:
        chosen = await asyncio.to_thread(self._nearest, asked)
        for place, sentence in enumerate(chosen):
            yield ("\n" if place else "") + f"“{sentence.text}” [{sentence.number}]"
        yield Ending("stop")

    def _nearest(self, asked: Prompt) -> list[_Sentence]:
        """The nearest sentences by cosine, in the order of the passages; none far behind the nearest."""
        found = _sentences(asked.excerpts)
        embedder = self._embedder_of(asked.embedding_version)
        question = embedder.embed_queries([asked.question])[0]
        scores = embedder.embed_documents([each.text for each in found]) @ question
        best = sorted(range(len(found)), key=lambda position: -scores[position])[:_QUOTED]
        return [found[position] for position in sorted(best) if scores[position] >= scores[best[0]] - _FARTHEST_BEHIND]


def _sentences(excerpts: Sequence[Excerpt]) -> list[_Sentence]:
    """The first of them, each once; what looks like a heading only where there is nothing else."""
    found: dict[str, _Sentence] = {}
    for each in _all_sentences(excerpts):
        found.setdefault(each.text.casefold(), each)
    whole = [each for each in found.values() if len(each.text) >= _SHORTEST_CHARS or each.text[-1] in _STOPS]
    return (whole or list(found.values()))[:_MOST_SENTENCES]


def _all_sentences(excerpts: Sequence[Excerpt]) -> Iterator[_Sentence]:
    for excerpt in excerpts:
        for start, end in sentences(excerpt.text, 0, len(excerpt.text)):
            text = quotable(" ".join(excerpt.text[start:end].split()))
            yield _Sentence(excerpt.number, text if len(text) <= _LONGEST_CHARS else f"{text[:_LONGEST_CHARS]}…")
