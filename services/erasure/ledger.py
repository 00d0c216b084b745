"""The ledger of erasures: their rows, the chain of their receipts, and the copy of it that is kept beside backups."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from database.dialects import insert_or_ignore
from database.engine import Database
from domain import JobStatus, Json
from errors import NotFound
from models import Erasure, ErasureLedgerRow, Job, Team, utc_now
from services.erasure.names import KEY_BYTES, NameKeys
from services.erasure.receipts import FIRST, ReceiptSigner, digest_of

FORMAT = 1
_ROW = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureInfo:
    """*status* is the job's, or completed once there is a receipt."""

    erasure_id: str
    job_id: str | None
    kind: str
    status: str
    created_at: datetime
    finished_at: datetime | None
    number: int | None
    receipt: Json | None


@dataclass(frozen=True)
class ErasureLedger:
    database: Database
    signer: ReceiptSigner

    def get(self, erasure_id: str, *, tenant_id: str | None = None) -> ErasureInfo:
        """Raises NotFound. With *tenant_id*, here and below, erasures of other tenants do not exist."""
        with self.database.read() as session:
            query = _of_tenant(tenant_id).where(Erasure.id == erasure_id)
            row = session.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"There is no erasure {erasure_id!r}.", param="erasure_id")
        return _info(*row)

    def page(self, *, limit: int, after: str | None = None, tenant_id: str | None = None) -> list[ErasureInfo]:
        """At most *limit* erasures, newest first, from behind the erasure *after* on."""
        query = _of_tenant(tenant_id)
        with self.database.read() as session:
            if after is not None:
                last = session.execute(_of_tenant(tenant_id).where(Erasure.id == after)).one_or_none()
                if last is None:
                    raise NotFound(f"The cursor {after!r} is no erasure: start again without it.", param="after")
                query = query.where(Erasure.created_at < last[0].created_at)
            newest_first = query.order_by(Erasure.created_at.desc(), Erasure.id).limit(limit)
            return [_info(*row) for row in session.execute(newest_first)]

    def name_keys(self, session: Session) -> NameKeys:
        return NameKeys(_row(session).hmac_key)

    def adopt(self, ledger: Json) -> None:
        """In a restored database: go on from the ledger beside the backup, with its key, receipts and numbers."""
        by_id = {entry["id"]: entry for entry in ledger["erasures"]}
        with self.database.write() as session:
            row = _row(session)
            row.hmac_key = bytes.fromhex(ledger["hmac_key"])
            own = {number for number in session.scalars(select(Erasure.number)) if number is not None}
            for receipt in ledger["receipts"]:
                if receipt["number"] not in own:
                    session.add(_adopted(session, receipt, by_id[receipt["id"]]))
            if ledger["head"]["number"] > row.number:
                row.number, row.digest = ledger["head"]["number"], ledger["head"]["digest"]

    def issue(self, session: Session, erasure: Erasure, content: Json) -> None:
        """Give the erasure its receipt: the next number, chained and signed. Locks the ledger."""
        ledger = _row(session)
        session.refresh(ledger, with_for_update=True)
        ledger.number += 1
        receipt = self.signer.sign({**content, "number": ledger.number, "previous": ledger.digest or FIRST})
        ledger.digest = digest_of(receipt)
        erasure.receipt, erasure.number = receipt, ledger.number

    def export(self) -> Json:
        """All receipts, with a signed head, so that none can be taken out; for verify-receipt."""
        with self.database.write() as session:
            ledger = _row(session)
            issued = session.scalars(select(Erasure).where(Erasure.number.is_not(None)).order_by(Erasure.number)).all()
            head = {"number": ledger.number, "digest": ledger.digest or FIRST, "created_at": utc_now().isoformat()}
        return {"format": FORMAT, "receipts": [each.receipt for each in issued], "head": self.signer.sign(head)}

    def export_for_backups(self) -> Json:
        """The same with what a restore needs to erase again: the key of the names, and each erasure's scope."""
        ledger = self.export()
        with self.database.write() as session:
            erasures = session.scalars(select(Erasure).order_by(Erasure.created_at)).all()
            return {**ledger, "hmac_key": _row(session).hmac_key.hex(), "erasures": [_replayable(e) for e in erasures]}


def _adopted(session: Session, receipt: Json, entry: Json) -> Erasure:
    """The row of a receipt that is younger than the backup. An erasure that the backup caught halfway keeps its id."""
    taken = session.scalar(select(Erasure.id).where(Erasure.id == receipt["id"]))
    return Erasure(
        team_id=0,
        id=receipt["id"] if taken is None else f"{receipt['id']}-before-restore",
        kind=receipt["kind"],
        scope=entry["scope"],
        doc_keys=bytes.fromhex(entry["doc_keys"]) if entry["doc_keys"] else None,
        requested_by=receipt["requested_by"],
        reason=receipt["reason"],
        tally={},
        number=receipt["number"],
        receipt=receipt,
        created_at=datetime.fromisoformat(receipt["requested_at"]),
        finished_at=datetime.fromisoformat(receipt["finished_at"]),
    )


def _replayable(erasure: Erasure) -> Json:
    return {
        "id": erasure.id,
        "kind": erasure.kind,
        "scope": erasure.scope,
        "doc_keys": erasure.doc_keys.hex() if erasure.doc_keys is not None else None,
        "is_finished": erasure.receipt is not None,
        "created_at": erasure.created_at.isoformat(),
    }


def _of_tenant(tenant_id: str | None) -> Any:
    query = select(Erasure, Job.status).outerjoin(
        Job, (Job.team_id == Erasure.team_id) & (Job.job_id == Erasure.job_id)
    )
    if tenant_id is None:
        return query
    return query.join(Team, Team.id == Erasure.team_id).where(Team.name == tenant_id)


def _row(session: Session) -> ErasureLedgerRow:
    """The only row; created at its first use."""
    row = session.get(ErasureLedgerRow, _ROW)
    if row is None:
        new = {"id": _ROW, "hmac_key": secrets.token_bytes(KEY_BYTES), "number": 0, "digest": ""}
        session.execute(insert_or_ignore(session, ErasureLedgerRow).values(**new))
        row = session.get_one(ErasureLedgerRow, _ROW)
    return row


def _info(erasure: Erasure, job_status: str | None) -> ErasureInfo:
    status = JobStatus.COMPLETED if erasure.receipt is not None else (job_status or JobStatus.FAILED)
    return ErasureInfo(
        erasure_id=erasure.id,
        job_id=erasure.job_id,
        kind=erasure.kind,
        status=status,
        created_at=erasure.created_at,
        finished_at=erasure.finished_at,
        number=erasure.number,
        receipt=erasure.receipt,
    )


def describe(erasures: Sequence[ErasureInfo]) -> list[tuple[object, ...]]:
    """Rows for a table."""
    return [
        (each.number or "", each.erasure_id, each.kind, each.status, f"{each.created_at:%Y-%m-%d %H:%M}")
        for each in erasures
    ]
