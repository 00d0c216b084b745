"""What the local embedders share: texts made safe, batches of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def prompted(texts: Sequence[str], prompt: str) -> list[str]:
    """Every text with *prompt* before it, and encodable."""
    return [encodable(prompt + text) for text in texts]


def encodable(text: str) -> str:
    """Lone surrogates, which no tokenizer and no JSON takes, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Positions in batches of like length, so that little is computed on padding. Longest first."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
