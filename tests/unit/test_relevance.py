"""The floor below which a passage has nothing to do with a question, by hand."""

from __future__ import annotations

import pytest

from domain import Hit
from services.search.fusing import RankedList, weighted
from services.search.relevance import MEANING_FLOOR, Scale, floor_of, words_floor


def dense(weight: float, *hits: Hit) -> RankedList:
    return RankedList("dense", 0, hits, Scale(0.2, weight=weight, floor=MEANING_FLOOR))


def keyword(words: int, *hits: Hit, weight: float = 1.0) -> RankedList:
    return RankedList("keyword", 0, hits, Scale(one=10.0, weight=weight, floor=words_floor(words)))


def test_the_fewer_words_a_question_has_the_more_of_them_count() -> None:
    floors = [words_floor(words) for words in range(12)]
    assert floors == sorted(floors, reverse=True)
    assert floors[1] < 0.45 < 2 * floors[2], "a chunk that has all words once passes, one of two words does not"


@pytest.mark.parametrize(
    ("lists", "floor"),
    [
        ([dense(0.5)], 0.45),
        ([keyword(3)], 0.22),
        ([dense(1.0), keyword(3)], (0.45 + 0.22) / 2),
        ([dense(0.25), keyword(3)], (0.25 * 0.45 + 0.22) / 1.25),
        ([dense(0.25), keyword(0, weight=0.0)], 0.45),
        ([keyword(0, weight=0.0)], 0.0),
    ],
    ids=["meaning", "words", "both", "a model that knows few words", "no words", "nothing"],
)
def test_the_floor_is_the_mean_of_both_sides_by_their_weights(lists: list[RankedList], floor: float) -> None:
    assert floor_of([each.scale for each in lists]) == pytest.approx(floor)


def test_a_single_side_is_measured_by_its_share_too() -> None:
    assert weighted([dense(0.3, (1, 0.6), (2, 0.2))]) == pytest.approx({1: 0.5, 2: 0.0})
    assert weighted([keyword(3, (1, 4.0))]) == pytest.approx({1: 0.4})
