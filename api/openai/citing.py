"""The citations of an answer in the forms of chat clients: annotations, and a list of sources below the text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from domain import Json
from services.search.question import Passage
from text.citations import quotable

QUOTED_ONLY = "(No language model is configured: these are quotes from the documents.)"
_MARKER = re.compile(r"\[([0-9]+)\]")
_MARKDOWN = re.compile(r"([\\`*_<>\[\]()#|~])")
_LONGEST_TITLE = 200


def footer(citations: Sequence[Passage], *, is_quoted: bool) -> str:
    """What follows an answer: a line per source. *is_quoted*: no language model wrote it."""
    lines = [QUOTED_ONLY] if is_quoted else []
    sources = [f"[{each.rank}] {_shown(each)}" for each in citations]
    return "".join(f"\n\n{part}" for part in (*lines, "\n".join(sources)) if part)


def url_citations(answer: str, citations: Sequence[Passage], namespace: str) -> list[Json]:
    """An url_citation for each marker in *answer*; its indices count the characters of the message."""
    by_rank = {each.rank: each for each in citations}
    markers = [(match, by_rank.get(int(match[1]))) for match in _MARKER.finditer(answer)]
    return [
        {"type": "url_citation", "url_citation": {**_span(match), **_source(passage, namespace)}}
        for match, passage in markers
        if passage is not None
    ]


def url_of(passage: Passage, namespace: str) -> str:
    """Where the document comes from, if its metadata have a url of the web; else a name of it."""
    url = passage.metadata.get("url")
    if isinstance(url, str) and url.startswith(("http://", "https://")):
        return url
    return f"datafactory://{quote(namespace, safe='')}/{quote(passage.doc_id, safe='')}"


def _span(match: re.Match[str]) -> Json:
    """The index of the last character, as the API says."""
    return {"start_index": match.start(), "end_index": match.end() - 1}


def _source(passage: Passage, namespace: str) -> Json:
    names = {"doc_id": passage.doc_id, "chunk_id": passage.chunk_id}
    return {"title": passage.title or passage.doc_id, "url": url_of(passage, namespace), **names}


def _shown(passage: Passage) -> str:
    """On one line, and without anything that a client would show as a link, a picture or a heading."""
    title = " ".join((passage.title or passage.doc_id).split())
    title = title if len(title) <= _LONGEST_TITLE else f"{title[:_LONGEST_TITLE]}…"
    pages = f", page {passage.page_start}" if passage.page_start is not None else ""
    return _MARKDOWN.sub(r"\\\1", quotable(title)) + pages
