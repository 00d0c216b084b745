"""How well a vocabulary fits a text: by hand with a vocabulary of eight pieces, and what holds for any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from engines.embedders.fitness import fitness


def tokenizer() -> Tokenizer:
    pieces = ["[UNK]", "ship", "##s", "sail", "s", "##a", "##i", "##l"]
    built = Tokenizer(WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    built.normalizer, built.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    return built


@pytest.mark.parametrize(
    ("text", "readable", "whole"),
    [
        ("ship sail", 1.0, 1.0),
        ("Ship, sail?", 1.0, 1.0),  # punctuation is in every vocabulary
        ("ships sail", 8 / 9, 2 / 3),  # ship ##s sail: the s is alone in its piece
        ("sails sails", 8 / 10, 2 / 4),
        ("s, s", 1.0, 1.0),  # a letter that is a word is alone by right
        ("ship boat", 4 / 8, 1.0),  # [UNK] has four of eight letters
        ("boat", 0.0, 1.0),
        ("...", 1.0, 1.0),
        ("", 1.0, 1.0),
    ],
)
def test_letters_are_readable_in_known_pieces_and_words_are_whole_in_one(
    text: str, readable: float, whole: float
) -> None:
    fit = fitness(tokenizer(), text)
    assert fit.readable == pytest.approx(readable)
    assert fit.whole == pytest.approx(whole)
    assert fit.weight == pytest.approx((readable * whole) ** 2)


def test_what_is_beyond_the_models_length_counts_too() -> None:
    cutting = tokenizer()
    cutting.enable_truncation(2)
    assert fitness(cutting, "ship sail boat boat boat boat").readable == pytest.approx(8 / 24)


@given(st.text())
def test_it_is_a_share_whatever_the_text(text: str) -> None:
    fit = fitness(tokenizer(), text)
    assert 0.0 <= fit.weight <= min(fit.readable, fit.whole) <= 1.0
