"""Recent queries are embedded once, and their vectors are those of the version and the exact text."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from domain import Vectors
from services.index import query_vectors
from services.index.query_vectors import LONGEST_TEXT, QueryVectors


class CountingModel:
    """Its vectors say which model and which text they are of."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        return self.expected(texts)

    def expected(self, texts: Sequence[str]) -> Vectors:
        return np.array([[self.number, hash(text) % 9973, len(text)] for text in texts], np.float32)


def test_a_text_is_embedded_once_for_each_version_and_differs_by_a_blank_or_a_capital() -> None:
    vectors, models = QueryVectors(), {name: CountingModel(number) for number, name in enumerate(("old", "new"))}
    batches = [["cats", "dogs", "cats"], ["dogs", "Dogs", "cats "], ["cats", "Dogs", "dogs"]]
    for texts in batches:
        for name, model in models.items():
            assert np.array_equal(vectors.of(name, texts, model.embed), model.expected(texts))
    assert [model.texts for model in models.values()] == [["cats", "dogs", "Dogs", "cats "]] * 2


def test_the_least_recently_used_leaves_first_and_long_texts_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_vectors, "MOST_QUERIES", 2)
    vectors, model = QueryVectors(), CountingModel(1)
    for text in ("a", "b", "a", "c", "a", "b", "x" * (LONGEST_TEXT + 1), "x" * (LONGEST_TEXT + 1), "a"):
        vectors.of("v", [text], model.embed)
    assert model.texts == ["a", "b", "c", "b", "x" * (LONGEST_TEXT + 1), "x" * (LONGEST_TEXT + 1)]


def test_threads_get_their_own_texts_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_vectors, "MOST_QUERIES", 8)
    vectors, model = QueryVectors(), CountingModel(1)

    def ask(number: int) -> bool:
        texts = [str(number % 13), str(number % 7)]
        return np.array_equal(vectors.of("v", texts, model.embed), model.expected(texts))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(2000)))
