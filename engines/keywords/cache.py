"""The postings of the words that were asked last, in memory. They follow the database: it is only asked what changed.

An entry is right at one seq. What was published since has chunks from some id on, whose postings are read again, and
what was hidden is taken out. So a publication costs the searches after it a look-up in the inverted file's end.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

import numpy as np
from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from database.prepared import PreparedStatement
from domain import Ids
from engines.keywords.postings import Postings
from models import Chunk
from snapshot import Snapshot

CACHE_BYTES = 64 << 20
BYTES_PER_WORD = 400
"""What an entry takes without its postings."""

MAX_NAMESPACES = 4096
MAX_CHANGES = 64
MAX_HIDDEN = 4096

Fetch = Callable[[Sequence[tuple[str, int]]], Sequence[Postings]]
"""Reads the postings of words, each from a chunk id on."""


@dataclass(frozen=True, slots=True)
class _Change:
    """Up to *seq*: chunks from *first_id* on were published (None: none were), and *hidden* ones disappeared."""

    seq: int
    first_id: int | None
    hidden: Ids


@dataclass(slots=True)
class _Namespace:
    """The changes after *oldest*, up to *seq*. A rebuild, which may correct rows, begins it anew."""

    rebuilt_at: datetime | None
    oldest: int
    seq: int
    changes: list[_Change] = field(default_factory=list)

    def add(self, change: _Change) -> None:
        self.seq = change.seq
        self.changes.append(change)
        excess = len(self.changes) - MAX_CHANGES
        if sum(len(each.hidden) for each in self.changes) > MAX_HIDDEN:
            excess = len(self.changes)
        if excess > 0:
            self.oldest = self.changes[excess - 1].seq
            del self.changes[:excess]

    def since(self, seq: int) -> _Change:
        """What changed after *seq*, as one."""
        later = [each for each in self.changes if each.seq > seq]
        first_ids = [each.first_id for each in later if each.first_id is not None]
        hidden = [np.empty(0, np.int64), *(each.hidden for each in later)]
        return _Change(self.seq, min(first_ids, default=None), np.unique(np.concatenate(hidden)))


@dataclass(frozen=True, slots=True)
class _Entry:
    namespace: _Namespace
    seq: int
    postings: Postings

    @property
    def nbytes(self) -> int:
        return BYTES_PER_WORD + self.postings.nbytes


class PostingCache:
    """Any thread may read. A thread whose snapshot is older than what is cached reads the database."""

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self.max_bytes = max_bytes
        self.nbytes = 0
        self._namespaces: OrderedDict[tuple[int, int], _Namespace] = OrderedDict()
        self._entries: OrderedDict[tuple[int, int, str], _Entry] = OrderedDict()
        self._lock = Lock()

    def read(self, session: Session, snapshot: Snapshot, words: Sequence[str], fetch: Fetch) -> dict[str, Postings]:
        """The postings of the words at the snapshot, which is the session's."""
        with self._lock:
            namespace = self._followed(session, snapshot)
            if namespace is None:
                return dict(zip(words, fetch([(word, 0) for word in words]), strict=True))
            known, seq = self._known(snapshot, namespace, words), namespace.seq
            changes = {since: namespace.since(since) for since in {entry.seq for entry in known.values()}}
        changed = {word: changes[entry.seq] for word, entry in known.items() if entry.seq < seq}
        first_ids = {word: each.first_id for word, each in changed.items()} | {w: 0 for w in words if w not in known}
        needed = [(word, first_id) for word, first_id in first_ids.items() if first_id is not None]
        fetched = dict(zip((word for word, _ in needed), fetch(needed), strict=True)) if needed else {}
        current = {word: entry.postings for word, entry in known.items()} | {
            word: _changed(known.get(word), changed.get(word), fetched.get(word)) for word in first_ids
        }
        self._store(snapshot, {word: _Entry(namespace, seq, current[word]) for word in first_ids})
        return current

    def _followed(self, session: Session, snapshot: Snapshot) -> _Namespace | None:
        """The namespace, brought up to the snapshot; None if it is ahead."""
        place, seq = _place(snapshot), snapshot.project.seq
        namespace = self._namespaces.get(place)
        is_known = namespace is not None and namespace.rebuilt_at == snapshot.index.updated_at
        if namespace is None or not is_known or namespace.seq < snapshot.project.purged_seq:
            namespace = self._namespaces[place] = _Namespace(snapshot.index.updated_at, seq, seq)
            if len(self._namespaces) > MAX_NAMESPACES:
                self._namespaces.popitem(last=False)
        self._namespaces.move_to_end(place)
        if namespace.seq < seq:
            namespace.add(_read_change(session, place, namespace.seq, seq))
        return namespace if namespace.seq == seq else None

    def _known(self, snapshot: Snapshot, namespace: _Namespace, words: Sequence[str]) -> dict[str, _Entry]:
        """The entries that can be used, which count as the last ones that were."""
        known = {}
        for word in words:
            key = (*_place(snapshot), word)
            entry = self._entries.get(key)
            if entry is not None and entry.namespace is namespace and entry.seq >= namespace.oldest:
                self._entries.move_to_end(key)
                known[word] = entry
        return known

    def _store(self, snapshot: Snapshot, entries: Mapping[str, _Entry]) -> None:
        with self._lock:
            for word, entry in entries.items():
                key = (*_place(snapshot), word)
                previous = self._entries.pop(key, None)
                if previous is not None:
                    self.nbytes -= previous.nbytes
                    if previous.namespace is entry.namespace and previous.seq > entry.seq:  # another thread's
                        entry = previous
                self._entries[key] = entry
                self.nbytes += entry.nbytes
            while self.nbytes > self.max_bytes:
                self.nbytes -= self._entries.popitem(last=False)[1].nbytes


def _place(snapshot: Snapshot) -> tuple[int, int]:
    return snapshot.project.team_id, snapshot.project.id


def _changed(entry: _Entry | None, change: _Change | None, fetched: Postings | None) -> Postings:
    if entry is None or change is None:
        assert fetched is not None
        return fetched
    postings = entry.postings
    if fetched is not None and change.first_id is not None:
        postings = postings.replaced(change.first_id, fetched)
    return postings.without(change.hidden)


def _read_change(session: Session, place: tuple[int, int], since: int, until: int) -> _Change:
    parameters = {"the_team": place[0], "the_project": place[1], "since": since}
    [(first_id,)] = _FIRST_ID.rows(session, parameters)
    hidden = [row[0] for row in _HIDDEN.rows(session, parameters)]
    return _Change(until, first_id, np.array(hidden, np.int64))


_IN_PROJECT = (Chunk.team_id == bindparam("the_team"), Chunk.project_id == bindparam("the_project"))
# The sum keeps SQLite from walking the primary key to the least id.
_FIRST_ID = PreparedStatement(
    select(func.min(Chunk.faiss_id + 0)).where(*_IN_PROJECT, Chunk.live_seq > bindparam("since"))
)
_HIDDEN = PreparedStatement(
    select(Chunk.faiss_id).where(*_IN_PROJECT, Chunk.dead_seq > bindparam("since")).limit(MAX_HIDDEN + 1)
)
