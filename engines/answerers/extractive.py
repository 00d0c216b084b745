"""An answerer without a language model: it quotes the sentences nearest to the question."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass

from domain import Excerpt
from engines.answerers.base import Ending, Prompt
from engines.embedders.base import Embedder
from text.chunkers.borders import sentences
from text.citations import quotable

_MAX_SENTENCES = 64
_LONGEST_CHARS = 600
_QUOTED = 3
_FARTHEST_BEHIND = 0.15
_MIN_CHARS = 25
_STOPS = ".!?…。！？｡।॥؟۔։።။\"'”’»)]」』"  # noqa: RUF001 (these very marks are meant)


@dataclass(frozen=True, slots=True)
class _Sentence:
    number: int
    text: str


class ExtractiveAnswerer:
    """*embedder_of* opens the model of an embedding version, so that sentences are compared as chunks are."""

    model = "extractive"

    def __init__(self, embedder_of: Callable[[str], Embedder]) -> None:
        self._embedder_of = embedder_of

    async def answer(self, prompt: Prompt) -> AsyncGenerator[str | Ending, None]:
        chosen = await asyncio.to_thread(self._nearest, prompt)
        for position, sentence in enumerate(chosen):
            yield ("\n" if position else "") + f"“{sentence.text}” [{sentence.number}]"
        yield Ending("stop")

    def _nearest(self, prompt: Prompt) -> list[_Sentence]:
        """The nearest sentences by cosine, in passage order, without any far behind the best."""
        candidates = _sentences(prompt.excerpts)
        embedder = self._embedder_of(prompt.embedding_version)
        question = embedder.embed_queries([prompt.question])[0]
        scores = embedder.embed_documents([each.text for each in candidates]) @ question
        best = sorted(range(len(candidates)), key=lambda position: -scores[position])[:_QUOTED]
        return [
            candidates[position] for position in sorted(best) if scores[position] >= scores[best[0]] - _FARTHEST_BEHIND
        ]


def _sentences(excerpts: Sequence[Excerpt]) -> list[_Sentence]:
    """Distinct sentences, up to a limit; heading-like ones only if there is nothing else."""
    unique: dict[str, _Sentence] = {}
    for each in _all_sentences(excerpts):
        unique.setdefault(each.text.casefold(), each)
    whole = [each for each in unique.values() if len(each.text) >= _MIN_CHARS or each.text[-1] in _STOPS]
    return (whole or list(unique.values()))[:_MAX_SENTENCES]


def _all_sentences(excerpts: Sequence[Excerpt]) -> Iterator[_Sentence]:
    for excerpt in excerpts:
        for start, end in sentences(excerpt.text, 0, len(excerpt.text)):
            text = quotable(" ".join(excerpt.text[start:end].split()))
            yield _Sentence(excerpt.number, text if len(text) <= _LONGEST_CHARS else f"{text[:_LONGEST_CHARS]}…")
