"""Vector stores: a tenant's namespaces, each with a name, a description and a time after which it expires."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Any

from sqlalchemy import and_, func, literal_column, select
from sqlalchemy.orm import Session

from database.engine import Database
from database.repeating import repeatable
from domain import Json
from errors import Ended, Invalid, NotFound
from models import Doc, LoggedQuery, Project, Revision, RevisionStatus, Team, VectorStoreRow, utc_now
from services.index import namespaces
from services.index.counting import day_of
from services.index.embedding import EmbeddingService
from services.index.names import check_new_name
from services.index.namespaces import is_listed
from services.stores.ids import project_number, store_id
from services.stores.paging import ListPage, PageQuery, rows_of
from services.stores.tenants import Tenants
from times import EARLIEST, shifted

TOUCHED_EVERY = timedelta(hours=1)
MOST_REMEMBERED = 1000
_UNNAMED = "store"
_SUFFIX_BYTES = 4


@dataclass(frozen=True, slots=True)
class FileCounts:
    """The documents of a namespace, or of a batch, by what became of their newest revision."""

    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        return self.in_progress + self.completed + self.failed + self.cancelled


@dataclass(frozen=True, slots=True)
class Store:
    """A vector store as its rows say. *settings* is None for a namespace that was never called one."""

    tenant_id: str
    project: Project
    settings: VectorStoreRow | None = None

    @property
    def id(self) -> str:
        return store_id(self.project)

    @property
    def namespace(self) -> str:
        return self.project.name

    @property
    def key(self) -> tuple[int, int]:
        return self.project.team_id, self.project.id


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """*last_active_at* is known only of a store that expires."""

    store: Store
    counts: FileCounts
    last_active_at: datetime | None = None
    expires_at: datetime | None = None
    is_expired: bool = False

    @property
    def name(self) -> str:
        return self.store.settings.name if self.store.settings is not None else self.store.namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStore:
    name: str = ""
    description: str | None = None
    metadata: Json | None = None
    expires_days: int | None = None


@dataclass(frozen=True)
class StoreService:
    database: Database
    embedding: EmbeddingService
    tenants: Tenants
    _used: dict[tuple[str, str], tuple[Store, datetime]] = field(default_factory=dict, init=False, repr=False)

    def create(self, tenant_id: str, new: NewStore) -> StoreInfo:
        """Create a namespace, named like the store if that name is fit and free. Loads the model."""
        self.database.refuse_when_nearly_full()
        version = self.embedding.version
        dimension = self.embedding.embedder(version).dimension
        with self.database.write() as session:
            self.tenants.team(session, tenant_id)
            team = namespaces.locked_team(session, tenant_id)
            namespace = self._free_name(session, tenant_id, new.name)
            project = namespaces.add(session, team, namespace, embedding_version=version, dimension=dimension)
            row = _row_of(project, name=new.name)
            row.description, row.store_metadata = new.description, new.metadata or {}
            _expire_after(row, new.expires_days)
            session.add(row)
            return _info(session, Store(tenant_id, project, row), FileCounts())

    @repeatable
    def get(self, tenant_id: str, store_id: str) -> StoreInfo:
        with self.database.read() as session:
            return _described(session, [require_store(session, tenant_id, store_id)])[0]

    @repeatable
    def page(self, tenant_id: str, page: PageQuery) -> ListPage[StoreInfo]:
        """By id, and so by time of creation."""
        by_number = PageQuery(
            page.limit, page.order, _number(page.after, param="after"), _number(page.before, param="before")
        )
        query = _stores(tenant_id)
        with self.database.read() as session:
            rows = rows_of(session, query, Project.id, by_number)
            stores = [Store(tenant_id, project, settings) for project, settings in rows.data]
            return ListPage(_described(session, stores), rows.has_more)

    @repeatable
    def change(self, tenant_id: str, store_id: str, changes: Mapping[str, Any]) -> StoreInfo:
        """*changes* has any of name, metadata and expires_days. With *expires_days*, the time begins anew."""
        with self.database.write() as session:
            store = require_store(session, tenant_id, store_id, for_update=True)
            row = store.settings or _row_of(store.project, name=store.namespace)
            row.name = changes.get("name", row.name)
            row.store_metadata = changes.get("metadata", row.store_metadata)
            if "expires_days" in changes:
                _expire_after(row, changes["expires_days"])
            session.add(row)
            session.flush()
            return _described(session, [replace(store, settings=row)])[0]

    def used_lately(self, tenant_id: str, store_id: str) -> Store | None:
        """The store that use() returned within the last hour, without a query. It cannot have expired since: no time
        is shorter than a day. It may have been erased: its namespace is then another, or none.
        """
        store, until = self._used.get((tenant_id, store_id), (None, EARLIEST))
        return store if utc_now() < until else None

    @repeatable
    def use(self, tenant_id: str, store_id: str) -> Store:
        """The store, for something to be searched in it or added to it. Raises Ended if it has expired."""
        with self.database.read() as session:
            store = require_store(session, tenant_id, store_id)
            info = _info(session, store, FileCounts())
        self._require_unexpired(store, info)
        until = min(each for each in (utc_now() + TOUCHED_EVERY, info.expires_at) if each is not None)
        if len(self._used) >= MOST_REMEMBERED:
            self._used.clear()
        self._used[tenant_id, store_id] = store, until
        return store

    def _require_unexpired(self, store: Store, info: StoreInfo) -> None:
        if info.is_expired:
            raise Ended(
                f"Vector store {store.id} has expired: set expires_after anew, and add its files again.",
                param="vector_store_id",
            )
        active = info.last_active_at
        if info.expires_at is not None and (active is None or active < utc_now() - TOUCHED_EVERY):
            self._touch(store)

    def _touch(self, store: Store) -> None:
        with self.database.write() as session:
            row = session.get(VectorStoreRow, store.key, with_for_update=True)
            if row is not None and row.expired_at is None:
                _expire_after(row, row.expires_days)

    def _free_name(self, session: Session, tenant_id: str, name: str) -> str:
        """Of several stores of one name the first has it as its namespace's."""
        try:
            check_new_name("name", name, self.tenants.name_chars)
        except Invalid:
            name = _UNNAMED
        else:
            if namespaces.find(session, tenant_id, name) is None:
                return name
        suffix = f"-{token_hex(_SUFFIX_BYTES)}"
        return f"{name[: self.tenants.name_chars - len(suffix)]}{suffix}"


def require_store(session: Session, tenant_id: str, store_id: str, *, for_update: bool = False) -> Store:
    """Raises NotFound. Every access to a store by its id goes through here."""
    number = project_number(store_id)
    row = None
    if number is not None:
        query = _stores(tenant_id).where(Project.id == number)
        row = session.execute(query.with_for_update(of=Project) if for_update else query).one_or_none()
    store = None if row is None else Store(tenant_id, *row)
    if store is None or store.id != store_id:
        raise NotFound(f"There is no vector store {store_id!r}.", param="vector_store_id")
    return store


def status_counts(session: Session, projects: Sequence[Project]) -> dict[tuple[int, int], FileCounts]:
    """Of each namespace. Reads only documents that are not ready, of which there are few."""
    if not projects:
        return {}
    newest = and_(
        Revision.team_id == Doc.team_id,
        Revision.project_id == Doc.project_id,
        Revision.doc_id == Doc.doc_id,
        Revision.revision == Doc.revision,
    )
    of_projects = and_(Doc.team_id == projects[0].team_id, Doc.project_id.in_([each.id for each in projects]))
    is_not_ready = Doc.status != literal_column("'ready'")
    query = select(Doc.project_id, Revision.status, func.count(), func.count(Doc.live_revision)).join(Revision, newest)
    query = query.where(of_projects, is_not_ready, Doc.deleted_at.is_(None)).group_by(Doc.project_id, Revision.status)
    counted: dict[int, dict[str, int]] = defaultdict(dict)
    live: dict[int, int] = defaultdict(int)
    for project_id, status, count, of_live in session.execute(query):
        counted[project_id][status] = count
        live[project_id] += of_live
    return {(each.team_id, each.id): _counts(counted[each.id], each.live_docs - live[each.id]) for each in projects}


def is_expired_by(row: VectorStoreRow, now: datetime) -> bool:
    return row.expired_at is not None or (row.expires_at is not None and row.expires_at <= now)


def last_activity(session: Session, row: VectorStoreRow) -> datetime | None:
    """By any door: the newest of what its row says, its documents' changes, and the questions that were logged."""
    in_project = (Doc.team_id == row.team_id, Doc.project_id == row.project_id)
    changed = session.scalar(select(func.max(Doc.updated_at)).where(*in_project))
    days = () if row.last_active_at is None else (LoggedQuery.day >= day_of(row.last_active_at),)
    of_log = (LoggedQuery.team_id == row.team_id, LoggedQuery.project_id == row.project_id, *days)
    searched = session.scalar(select(func.max(LoggedQuery.created_at)).where(*of_log))
    return max((each for each in (row.last_active_at, changed, searched) if each is not None), default=None)


def _stores(tenant_id: str) -> Any:
    is_settings = and_(VectorStoreRow.team_id == Project.team_id, VectorStoreRow.project_id == Project.id)
    query = select(Project, VectorStoreRow).join(Team, Team.id == Project.team_id)
    query = query.outerjoin(VectorStoreRow, is_settings)
    return query.where(Team.name == tenant_id, is_listed())


def _described(session: Session, stores: Sequence[Store]) -> list[StoreInfo]:
    counts = status_counts(session, [store.project for store in stores])
    return [_info(session, store, counts[store.key]) for store in stores]


def _info(session: Session, store: Store, counts: FileCounts) -> StoreInfo:
    """A store that seems to have expired may have been used by another door since."""
    row = store.settings
    if row is None or row.expires_days is None:
        return StoreInfo(store, counts, is_expired=row is not None and row.expired_at is not None)
    active, expires = row.last_active_at, row.expires_at
    if row.expired_at is None and is_expired_by(row, utc_now()):
        active = last_activity(session, row)
        expires = None if active is None else shifted(active, days=row.expires_days)
    is_expired = row.expired_at is not None or (expires is not None and expires <= utc_now())
    return StoreInfo(store, counts, active, expires, is_expired)


def _expire_after(row: VectorStoreRow, days: int | None) -> None:
    """From now on."""
    now = utc_now()
    row.expires_days, row.expired_at = days, None
    row.last_active_at = None if days is None else now
    row.expires_at = None if days is None else shifted(now, days=days)


def _row_of(project: Project, *, name: str) -> VectorStoreRow:
    return VectorStoreRow(team_id=project.team_id, project_id=project.id, name=name, store_metadata={})


def _counts(by_status: Mapping[str, int], ready: int) -> FileCounts:
    failed, cancelled = (by_status.get(each, 0) for each in (RevisionStatus.FAILED, RevisionStatus.CANCELLED))
    return FileCounts(sum(by_status.values()) - failed - cancelled, ready, failed, cancelled)


def _number(store_id: str | None, *, param: str) -> int | None:
    number = None if store_id is None else project_number(store_id)
    if store_id is not None and number is None:
        raise Invalid(f"{param} is no id of a vector store: {store_id[:100]!r}.", param=param)
    return number
