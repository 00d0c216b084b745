"""Which chunks a filter allows at a snapshot. What was read of a namespace is kept: only what changed is read again."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock

from sqlalchemy.orm import Session

from models import Project
from services.search.filters.catalog import Catalog, Ids
from services.search.filters.reading import read_changes, read_ranges
from text.filters import PAGE, Filter, conditions

MOST_KEYS = 64
FEWEST_CHANGES = 1000
SHARE_OF_RESULTS = 4

Place = tuple[str, str]
"""Of a namespace: the tenant's name and its own."""


@dataclass(frozen=True, slots=True)
class Group:
    """The questions with one filter, by their numbers, and the chunks that it allows; None: all."""

    numbers: list[int]
    allowed: Ids | None


class FilterService:
    """Keeps a catalog per namespace, the ones used last. Where pages are asked for it is another, chunk by chunk.

    Reading one takes seconds where there are millions of chunks, so nobody holds the lock, or has others wait, for it.
    """

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes = memory_bytes
        self._catalogs: OrderedDict[tuple[Place, bool], Catalog] = OrderedDict()
        self._lock = Lock()

    def lacks(self, place: Place, wanted: Filter) -> bool:
        """The namespace has to be read before a search with that filter. Knowing this costs no query."""
        with self._lock:
            return self._kept(place, _keys(wanted)) is None

    def read(self, session: Session, project: Project, place: Place, wanted: Filter) -> None:
        """Read what the filter asks for, and what was kept of the namespace, as *project* stands in the session."""
        keys = _keys(wanted)
        with self._lock:
            old = self._catalogs.get((place, PAGE in keys))
        others = [key for key in old.columns if key not in keys] if old is not None else []
        catalog = _read(session, project, keys + others[: max(MOST_KEYS - len(keys), 0)])
        with self._lock:
            self._catalogs[place, PAGE in keys] = catalog
            self._make_room(place, catalog)

    def groups(self, session: Session, project: Project, place: Place, filters: Sequence[Filter | None]) -> list[Group]:
        """Questions, of whose filters these are, that can be answered together."""
        numbers: dict[Filter | None, list[int]] = defaultdict(list)
        for number, wanted in enumerate(filters):
            numbers[wanted].append(number)
        return [
            Group(some, None if wanted is None else self.allowed(session, project, place, wanted))
            for wanted, some in numbers.items()
        ]

    def allowed(self, session: Session, project: Project, place: Place, wanted: Filter) -> Ids:
        """The numbers of the chunks that match, ascending, as *project* stands in the transaction of *session*.

        Some of them may be dead by then. Nobody may write into the array: others are given the same one.
        """
        if self.lacks(place, wanted):
            self.read(session, project, place, wanted)
        keys = _keys(wanted)
        with self._lock:
            kept = self._kept(place, keys)
            if kept is not None and kept.seq <= project.seq:
                if kept.seq < project.seq:
                    kept.add(read_changes(session, project, kept.columns.keys(), since=kept.seq), seq=project.seq)
                allowed = kept.allowed(wanted)
                self._make_room(place, kept)
                return allowed
        return _read(session, project, keys).allowed(wanted)  # another thread has a later snapshot, or took the room

    def _kept(self, place: Place, keys: list[str]) -> Catalog | None:
        """The catalog, unless it lacks a key, or much of it has died."""
        kept = self._catalogs.get((place, PAGE in keys))
        if kept is None or not kept.columns.keys() >= set(keys):
            return None
        return kept if len(kept) <= 2 * kept.first_size + FEWEST_CHANGES else None

    def _make_room(self, place: Place, used: Catalog) -> None:
        self._catalogs.move_to_end((place, PAGE in used.columns))
        used.forget_results(self.memory_bytes // SHARE_OF_RESULTS)
        total = sum(catalog.nbytes for catalog in self._catalogs.values())
        while total > self.memory_bytes and len(self._catalogs) > 1:
            total -= self._catalogs.popitem(last=False)[1].nbytes


def _keys(wanted: Filter) -> list[str]:
    return list(dict.fromkeys(condition.key for condition in conditions(wanted)))


def _read(session: Session, project: Project, keys: Iterable[str]) -> Catalog:
    catalog = Catalog(keys)
    catalog.add(read_ranges(session, project, catalog.columns.keys()), seq=project.seq)
    return catalog
