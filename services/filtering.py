"""Which chunks a filter allows at a snapshot. What was read of a namespace is kept: only what changed is read again."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock

from sqlalchemy.orm import Session

from engines.filters.catalog import Catalog, Ids
from engines.filters.reading import read_changes, read_runs
from models import Project
from text.filters import PAGE, Filter, conditions

MOST_KEYS = 64
FEWEST_CHANGES = 1000
SHARE_OF_RESULTS = 4

_Place = tuple[int, int, bool]


@dataclass(frozen=True, slots=True)
class Group:
    """The questions with one filter, by their numbers, and the chunks that it allows; None: all."""

    numbers: list[int]
    allowed: Ids | None


class FilterService:
    """Keeps a catalog per namespace, the ones used last. Where pages are asked for it is another, chunk by chunk."""

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes = memory_bytes
        self._catalogs: OrderedDict[_Place, Catalog] = OrderedDict()
        self._lock = Lock()

    def groups(self, session: Session, project: Project, filters: Sequence[Filter | None]) -> list[Group]:
        """Questions, of whose filters these are, that can be answered together."""
        numbers: dict[Filter | None, list[int]] = defaultdict(list)
        for number, wanted in enumerate(filters):
            numbers[wanted].append(number)
        return [
            Group(some, None if wanted is None else self.allowed(session, project, wanted))
            for wanted, some in numbers.items()
        ]

    def allowed(self, session: Session, project: Project, wanted: Filter) -> Ids:
        """The numbers of the chunks that match, ascending, as *project* stands in the transaction of *session*.

        Some of them may be dead by then. Nobody may write into the array: others are given the same one.
        """
        keys = list(dict.fromkeys(condition.key for condition in conditions(wanted)))
        place = (project.team_id, project.id, PAGE in keys)
        with self._lock:
            kept = self._catalogs.get(place)
            if kept is not None and kept.seq > project.seq:  # another thread has read a later snapshot
                return _read(session, project, keys).allowed(wanted)
            catalog = self._catalogs[place] = _current(session, project, kept, keys)
            self._catalogs.move_to_end(place)
            allowed = catalog.allowed(wanted)
            self._make_room(catalog)
            return allowed

    def _make_room(self, used: Catalog) -> None:
        used.forget_results(self.memory_bytes // SHARE_OF_RESULTS)
        total = sum(catalog.nbytes for catalog in self._catalogs.values())
        while total > self.memory_bytes and len(self._catalogs) > 1:
            total -= self._catalogs.popitem(last=False)[1].nbytes


def _current(session: Session, project: Project, kept: Catalog | None, keys: list[str]) -> Catalog:
    """The catalog brought up to the snapshot; read anew where it lacks a key, or where much of it has died."""
    if kept is None or not kept.columns.keys() >= set(keys):
        others = [key for key in kept.columns if key not in keys] if kept is not None else []
        return _read(session, project, keys + others[: max(MOST_KEYS - len(keys), 0)])
    if kept.seq < project.seq:
        kept.add(read_changes(session, project, kept.columns.keys(), since=kept.seq), seq=project.seq)
    if len(kept) > 2 * kept.first_size + FEWEST_CHANGES:
        return _read(session, project, kept.columns)
    return kept


def _read(session: Session, project: Project, keys: Iterable[str]) -> Catalog:
    catalog = Catalog(keys)
    catalog.add(read_runs(session, project, catalog.columns.keys()), seq=project.seq)
    return catalog
