"""The chunks that a filter matches at a snapshot. Catalogs are cached: only changes are read again."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock

from sqlalchemy.orm import Session

from domain import Ids
from models import Project
from services.search.filters.catalog import Catalog
from services.search.filters.reading import read_changes, read_ranges
from text.filters import PAGE, Filter, conditions

MAX_KEYS = 64
MAX_PLACES = 10_000
MIN_CHANGES = 1000
RESULT_FRACTION = 4

Place = tuple[str, str]
"""The names of a tenant and its namespace."""

_Key = tuple[int, int]
"""The ids of a team and of the project whose chunks are searched."""


@dataclass(frozen=True, slots=True)
class Group:
    """The questions with one filter, by their numbers, and the chunks that it matches; None: no filter."""

    numbers: list[int]
    allowed: Ids | None


class FilterService:
    """An LRU cache with a catalog per project, and a second one, chunk by chunk, for filters on pages.

    Loading a catalog takes seconds for millions of chunks, so it happens outside the lock.
    """

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes = memory_bytes
        self._catalogs: OrderedDict[tuple[_Key, bool], Catalog] = OrderedDict()
        self._keys: dict[Place, _Key] = {}
        self._lock = Lock()

    def needs_loading(self, place: Place, chunk_filter: Filter) -> bool:
        """Whether a search with that filter must load the namespace first. Costs no query."""
        with self._lock:
            key = self._keys.get(place)
            return key is None or self._usable_catalog(key, _keys(chunk_filter)) is None

    def read(self, session: Session, project: Project, place: Place, chunk_filter: Filter) -> None:
        """Load the keys of the filter, and those cached before, at the snapshot that *project* comes from."""
        self._remember(place, _key(project))
        self._read(session, project, chunk_filter)

    def _read(self, session: Session, project: Project, chunk_filter: Filter) -> None:
        keys, key = _keys(chunk_filter), _key(project)
        with self._lock:
            previous = self._catalogs.get((key, PAGE in keys))
        others = [key for key in previous.columns if key not in keys] if previous is not None else []
        catalog = _load(session, project, keys + others[: max(MAX_KEYS - len(keys), 0)])
        with self._lock:
            self._catalogs[key, PAGE in keys] = catalog
            self._evict(key, catalog)

    def groups(self, session: Session, project: Project, filters: Sequence[Filter | None]) -> list[Group]:
        """Groups questions, given by their filters, that can be answered together."""
        numbers: dict[Filter | None, list[int]] = defaultdict(list)
        for number, chunk_filter in enumerate(filters):
            numbers[chunk_filter].append(number)
        return [
            Group(group_numbers, None if chunk_filter is None else self.allowed(session, project, chunk_filter))
            for chunk_filter, group_numbers in numbers.items()
        ]

    def allowed(self, session: Session, project: Project, chunk_filter: Filter) -> Ids:
        """The ids of the chunks that match, ascending, at the snapshot that *project* comes from.

        Some of them may be dead. The array is shared and read-only.
        """
        keys, key = _keys(chunk_filter), _key(project)
        with self._lock:
            is_loaded = self._usable_catalog(key, keys) is not None
        if not is_loaded:
            self._read(session, project, chunk_filter)
        with self._lock:
            catalog = self._usable_catalog(key, keys)
            if catalog is not None and catalog.seq <= project.seq:
                if catalog.seq < project.seq:
                    catalog.add(
                        read_changes(session, project, catalog.columns.keys(), since=catalog.seq), seq=project.seq
                    )
                allowed = catalog.allowed(chunk_filter)
                self._evict(key, catalog)
                return allowed
        return _load(session, project, keys).allowed(chunk_filter)  # another thread has a later snapshot, or evicted it

    def _remember(self, place: Place, key: _Key) -> None:
        with self._lock:
            if place not in self._keys and len(self._keys) >= MAX_PLACES:
                self._keys.clear()
            self._keys[place] = key

    def _usable_catalog(self, key: _Key, keys: list[str]) -> Catalog | None:
        """The cached catalog, unless it lacks a key or holds too many dead chunks."""
        catalog = self._catalogs.get((key, PAGE in keys))
        if catalog is None or not catalog.columns.keys() >= set(keys):
            return None
        return catalog if len(catalog) <= 2 * catalog.initial_size + MIN_CHANGES else None

    def _evict(self, key: _Key, catalog: Catalog) -> None:
        self._catalogs.move_to_end((key, PAGE in catalog.columns))
        catalog.evict_results(self.memory_bytes // RESULT_FRACTION)
        total = sum(catalog.nbytes for catalog in self._catalogs.values())
        while total > self.memory_bytes and len(self._catalogs) > 1:
            total -= self._catalogs.popitem(last=False)[1].nbytes


def _key(project: Project) -> _Key:
    return project.team_id, project.id


def _keys(chunk_filter: Filter) -> list[str]:
    return list(dict.fromkeys(condition.key for condition in conditions(chunk_filter)))


def _load(session: Session, project: Project, keys: Iterable[str]) -> Catalog:
    catalog = Catalog(keys)
    catalog.add(read_ranges(session, project, catalog.columns.keys()), seq=project.seq)
    return catalog
