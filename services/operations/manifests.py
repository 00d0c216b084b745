"""The manifest of a backup: what it holds, and the hash of each part."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import TableClause, column, func, inspect, select
from sqlalchemy.orm import Session

from database.engine import DatabaseKind
from domain import MIRROR_MARK
from errors import DamagedBackup, Invalid
from models import Base, FileObject, IndexRow, Project, Revision, Team, UploadPart

FORMAT = 1


@dataclass(frozen=True, slots=True)
class BackupPart:
    """A file of a backup. *name* is its name in the backup's store."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class NamespaceCount:
    tenant_id: str
    namespace: str
    seq: int
    live_docs: int
    live_chunks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFacts:
    """What one snapshot of a database says. *columns* are those of each table, referenced tables first.

    *raw_files* and *index_files* are the names that its rows refer to.
    """

    schema: str
    columns: dict[str, list[str]]
    rows: dict[str, int]
    namespaces: list[NamespaceCount]
    raw_files: list[str]
    index_files: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupManifest:
    """*missing* are raw files that documents refer to and that the service itself had lost."""

    id: str
    created_at: str
    software: str
    schema: str
    database: DatabaseKind
    columns: dict[str, list[str]]
    rows: dict[str, int]
    namespaces: list[NamespaceCount]
    tables: list[BackupPart]
    raw_files: list[BackupPart]
    index_files: list[BackupPart]
    missing: list[str]

    @property
    def parts(self) -> Iterator[BackupPart]:
        yield from self.tables
        yield from self.raw_files
        yield from self.index_files

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    def encode(self) -> bytes:
        content = asdict(self)
        document = {"format": FORMAT, "sha256": _checksum(content), "backup": content}
        return json.dumps(document, indent=1, ensure_ascii=False).encode()


def decode(encoded: bytes, *, source: str) -> BackupManifest:
    """Raises Invalid for the manifest of a newer version, and DamagedBackup for one that is not as it was written."""
    try:
        document = json.loads(encoded)
        number, checksum, content = document["format"], document["sha256"], document["backup"]
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedBackup(f"The manifest of {source} is damaged: it cannot be read.") from error
    if isinstance(number, int) and number > FORMAT:
        raise Invalid(
            f"{source} has format {number}, and this version reads up to {FORMAT}: restore it with the version that "
            "made it, or a newer one."
        )
    if number != FORMAT or checksum != _checksum(content):
        raise DamagedBackup(f"The manifest of {source} is damaged: its checksum does not match.")
    lists = {name: [BackupPart(**part) for part in content[name]] for name in ("tables", "raw_files", "index_files")}
    namespaces = [NamespaceCount(**each) for each in content["namespaces"]]
    kind = DatabaseKind(content["database"])
    return BackupManifest(**{**content, **lists, "namespaces": namespaces, "database": kind})


def facts_of(session: Session) -> SnapshotFacts:
    """Of a database with any schema: its columns are looked up."""
    columns = _columns(session)
    return SnapshotFacts(
        schema=session.execute(select(column("version_num")).select_from(TableClause("alembic_version"))).scalar_one(),
        columns=columns,
        rows=row_counts(session, list(columns)),
        namespaces=namespace_counts(session),
        raw_files=raw_file_names(session),
        index_files=list(session.scalars(_distinct(IndexRow.faiss_path))),
    )


def raw_file_names(session: Session) -> list[str]:
    """The raw files that the rows name, of a database with any schema."""
    existing = set(inspect(session.connection()).get_table_names())
    columns = [
        each for each in (Revision.blob_uri, FileObject.blob, UploadPart.blob) if each.class_.__tablename__ in existing
    ]
    return sorted({name for each in columns for name in session.scalars(_distinct(each))})


def _columns(session: Session) -> dict[str, list[str]]:
    inspector = inspect(session.connection())
    existing = set(inspector.get_table_names())
    names = [table.name for table in Base.metadata.sorted_tables if table.name in existing]
    return {name: [each["name"] for each in inspector.get_columns(name)] for name in names}


def row_counts(session: Session, tables: list[str]) -> dict[str, int]:
    return {table: session.scalar(select(func.count()).select_from(TableClause(table))) or 0 for table in tables}


def namespace_counts(session: Session) -> list[NamespaceCount]:
    """Reads only columns that every schema has."""
    columns = (Team.name, Project.name, Project.seq, Project.live_docs, Project.live_chunks)
    rows = session.execute(select(*columns).join(Team, Team.id == Project.team_id).order_by(Team.name, Project.name))
    named = (NamespaceCount(*row) for row in rows if not row[1].startswith(MIRROR_MARK))
    return sorted(named, key=lambda each: (each.tenant_id, each.namespace))


def _distinct(attribute: Any) -> Any:
    return select(attribute).where(attribute.is_not(None)).distinct().order_by(attribute)


def _checksum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
