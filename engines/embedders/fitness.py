"""Measures how far a model's similarities can be trusted: whether its vocabulary fits a text, and where they begin.

A model knows the languages that its vocabulary was made from: their words are one or two pieces. Those of others break
into letters, or are unknown pieces, and what it makes of them says nothing.
"""

from __future__ import annotations

from tokenizers import Tokenizer

from engines.embedders.base import Embedder
from engines.embedders.batches import encodable
from text.words import count_words

_QUERIES = (
    "When was the old bridge built?",
    "how to bake bread at home",
    "symptoms of lead poisoning",
    "tax on imported cars",
)
_TEXTS = (
    "The orchestra rehearses twice a week, and its season opens in October with a symphony.",
    "Whales sing to each other over hundreds of kilometres of open sea.",
    "To reset the router, hold the button for ten seconds and wait for the green light.",
    "The goalkeeper saved two penalties before the match was decided in extra time.",
)


def fitness(tokenizer: Tokenizer, text: str) -> float:
    """The square of the share of pieces that would suffice if each were a word, without unknown ones: 0 to 1.

    Measured: 0.85 for English in an English vocabulary, 0.3 for Spanish, 0.05 for Arabic. docs/decisions/0027.
    """
    text = encodable(text)
    encoding = tokenizer.encode(text, add_special_tokens=False)
    unknown = _unknown_id(tokenizer)
    pieces = known_chars = chars = 0
    for part in (encoding, *encoding.overflowing):
        for piece, (start, end) in zip(part.ids, part.offsets, strict=True):
            size = sum(map(str.isalnum, text[start:end]))
            pieces += size > 0
            chars += size
            known_chars += size if piece != unknown else 0
    if not pieces:
        return 1.0
    return (min(1.0, count_words(text) / pieces) * known_chars / chars) ** 2


def unrelated_similarity(embedder: Embedder) -> float:
    """The cosine similarity that *embedder* gives to a query and a text that have nothing in common.

    About 0.05 for MiniLM, but 0.75 for E5, whose vectors all point in one direction.
    """
    return float((embedder.embed_queries(_QUERIES) @ embedder.embed_documents(_TEXTS).T).mean())


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    ids = (tokenizer.token_to_id(name) for name in ("[UNK]", "<unk>"))
    return next((each for each in ids if each is not None), None)
