"""How much of a text a tokenizer does not know: what it breaks into letters, a model has hardly learnt to read."""

from __future__ import annotations

import re
import unicodedata

from tokenizers import Tokenizer

from engines.embedders.batches import encodable

_UNKNOWNS = ("[UNK]", "<unk>")

# One character of these is as much as a word or a syllable, and models that read them well have it as a piece.
_LARGE = re.compile(r"[\u1200-\u137f\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff]")


def broken_share(tokenizer: Tokenizer, text: str) -> float:
    """The share of *text*'s letters that are unknown, alone in a piece though they stand in a word, or split.

    About 0.05 in a language that the tokenizer was made for, and 0.6 to 1 in a script that it was not.
    """
    text = encodable(text)
    unknown = {tokenizer.token_to_id(each) for each in _UNKNOWNS} - {None}
    encoding = tokenizer.encode(text, add_special_tokens=False)
    is_broken: dict[int, bool] = {}
    for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        letters = [place for place in range(start, end) if _is_letter(text[place])]
        is_alone = len(letters) == 1 and _stands_in_a_word(text, letters[0])
        for place in letters:
            is_broken[place] = token in unknown or is_alone or place in is_broken
    return sum(is_broken.values()) / len(is_broken) if is_broken else 0.0


def _stands_in_a_word(text: str, place: int) -> bool:
    if _LARGE.match(text[place]):
        return False
    neighbours = text[max(place - 1, 0) : place] + text[place + 1 : place + 2]
    return any(map(_is_letter, neighbours))


def _is_letter(character: str) -> bool:
    """Or a mark: in many scripts most vowels are marks."""
    return unicodedata.category(character)[0] in "LM"
