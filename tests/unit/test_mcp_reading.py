"""How an assistant names a document and reads a stretch of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from api.mcp.reading import CHUNKS_PER_READ, stretch
from api.mcp.references import DocReference

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@dataclass(frozen=True)
class Chunk:
    chunk_index: int
    text: str
    char_start: int
    char_end: int


class Document:
    """Counts what is read of it."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.chunks, self.reads, self.rows = chunks, 0, 0

    def read(self, after: int, limit: int) -> Sequence[Chunk]:
        behind = [chunk for chunk in self.chunks if chunk.chunk_index > after][:limit]
        self.reads, self.rows = self.reads + 1, self.rows + len(behind)
        return behind


def chunks_of(text: str, size: int, *, overlap: int = 0) -> list[Chunk]:
    starts = range(0, len(text), size)
    ends = [min(start + size + overlap, len(text)) for start in starts]
    return [
        Chunk(index, text[start:end], start, end) for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


@given(
    text=st.text(min_size=1, max_size=300),
    size=st.integers(1, 40),
    overlap=st.integers(0, 10),
    max_chars=st.integers(1, 50),
)
def test_stretches_one_behind_the_other_are_the_document(text: str, size: int, overlap: int, max_chars: int) -> None:
    document = Document(chunks_of(text, size, overlap=overlap))
    parts: list[str] = []
    offset: int | None = 0
    while offset is not None:
        part, following = stretch(document.read, offset, max_chars)
        assert len(part) <= max_chars and (following is None or following > offset)
        parts.append(part)
        offset = following
    assert "".join(parts) == text


def test_what_stands_between_chunks_is_a_line_end_or_a_blank_line() -> None:
    chunks = [Chunk(0, "one", 0, 3), Chunk(1, "two", 4, 7), Chunk(2, "three", 12, 17)]
    assert stretch(Document(chunks).read, 0, 100) == ("one\ntwo\n\nthree", None)
    assert stretch(Document(chunks).read, 0, 4) == ("one", 3)
    assert stretch(Document(chunks).read, 3, 4) == ("two", 7)
    assert stretch(Document(chunks).read, 17, 4) == ("", None)
    headed = [Chunk(0, "a | b\n1 | 2", 0, 11), Chunk(1, "a | b\n3 | 4", 12, 17)]
    assert stretch(Document(headed).read, 0, 100) == ("a | b\n1 | 2\n3 | 4", None)


def test_a_stretch_far_behind_is_read_without_what_stands_before_it() -> None:
    document = Document(chunks_of("x" * 100_000 + "y" * 10, 10))
    assert stretch(document.read, 99_995, 100) == ("x" * 5 + "y" * 10, None)
    assert document.reads < 40 and document.rows < 3 * CHUNKS_PER_READ
    small = Document(chunks_of("x" * 100, 10))
    assert stretch(small.read, 0, 100)[1] is None and small.reads <= 2


@given(namespace=NAMES, doc_id=NAMES)
def test_the_id_and_the_uri_of_a_document_lead_back_to_it(namespace: str, doc_id: str) -> None:
    reference = DocReference(namespace, doc_id)
    assert DocReference.parse(str(reference)) == reference
    assert DocReference.of_uri(reference.uri) == reference
    assert reference.url({"url": "https://example.org/"}) == "https://example.org/"
    assert reference.url({"url": 7}) == reference.url(None) == reference.uri
