"""Shared by the embedders: encodable texts, batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def with_prompt(texts: Sequence[str], prompt: str) -> list[str]:
    """The texts with *prompt* before each, made encodable."""
    return [encodable(prompt + text) for text in texts]


def encodable(text: str) -> str:
    """Replaces lone surrogates, which tokenizers and JSON reject, by question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Positions in batches of similar length, longest first, so that little padding is computed."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
