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
    ("text", "share"),
    [
        ("ship sail", 1.0),
        ("Ship, sail?", 1.0),  # punctuation is in every vocabulary
        ("ships sail", 2 / 3),  # ship ##s sail
        ("sails sails", 2 / 4),
        ("ship boat", 4 / 8),  # [UNK] has four of eight letters
        ("boat", 0.0),
        ("...", 1.0),
        ("", 1.0),
    ],
)
def test_the_share_of_whole_known_words_is_squared(text: str, share: float) -> None:
    assert fitness(tokenizer(), text) == pytest.approx(share**2)


def test_what_is_beyond_the_models_length_counts_too() -> None:
    cutting = tokenizer()
    cutting.enable_truncation(2)
    assert fitness(cutting, "ship sail boat boat boat boat") == pytest.approx((8 / 24) ** 2)


@given(st.text())
def test_it_is_a_share_whatever_the_text(text: str) -> None:
    assert 0.0 <= fitness(tokenizer(), text) <= 1.0
