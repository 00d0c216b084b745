"""What can be quoted from a passage: sentences, and rows of tables under their header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text.quoting import quotes, shared_words

HTML = """<p>Prices are net, as always.</p>
<table><tr><th>Item</th><th>Price</th></tr>
<tr><td>Bolt</td><td>3 &euro;</td></tr><tr><td>Nut</td><td>1</td></tr></table>"""
CASES = {
    "prose": ("Cats sleep all day.\nDogs bark at night.", ["Cats sleep all day.", "Dogs bark at night."]),
    "heading": ("Cats\n\nThey sleep all day in the sun.", ["They sleep all day in the sun."]),
    "only a heading": ("Cats", ["Cats"]),
    "twice": ("Cats sleep. CATS SLEEP.", ["Cats sleep."]),
    "markdown": (
        "All prices are net.\n\n| Item | Price |\n|:--|--:|\n| Bolt | 3 |\n| Nut | 1 |\n\nAsk for more.",
        ["All prices are net.", "| Item | Price |\n| Bolt | 3 |", "| Item | Price |\n| Nut | 1 |", "Ask for more."],
    ),
    "html": (HTML, ["<p>Prices are net, as always.</p>", "Item | Price\nBolt | 3 €", "Item | Price\nNut | 1"]),
    "csv": ('id,item,price\n1,bolt,3\n2,"nut, big",1', ["id,item,price\n1,bolt,3", 'id,item,price\n2,"nut, big",1']),
    "units": ("Width;Height\nmm;mm\n3;4", ["Width;Height\nmm;mm\n3;4"]),
    "verse": ("Roses are red, I know,\nViolets are blue.", ["Roses are red, I know, Violets are blue."]),
    "a rule": ("---", ["---"]),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_sentences_and_rows_are_quoted(text: str, expected: list[str]) -> None:
    assert [each.text for each in quotes(text)] == expected


def test_a_word_that_every_sentence_has_distinguishes_none() -> None:
    candidates = quotes("The meter of Bergen is old. The meter of Cadiz is new. The harbour opens at six.")
    bergen, cadiz, harbour = shared_words("Which meter stands in Bergen?", candidates)
    assert (bergen, harbour) == (1.0, 0.0)
    assert 0 < cadiz < 0.5
    assert shared_words("carbonara", candidates) == [0.0, 0.0, 0.0]


@given(st.text(min_size=1))
def test_every_passage_has_a_quote(text: str) -> None:
    assert all(each.text for each in quotes(text)) and quotes(text)
