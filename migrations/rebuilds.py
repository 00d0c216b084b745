"""Work that a migration leaves to the workers."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import sqlalchemy as sa
from alembic import op

_WITHOUT_PENDING_REBUILD = sa.text(
    "SELECT team_id, id FROM projects WHERE live_chunks > 0 AND NOT EXISTS (SELECT 1 FROM jobs "
    "WHERE jobs.team_id = projects.team_id AND jobs.project_id = projects.id "
    "AND status = 'pending' AND dedupe_key = 'rebuild_index')"
)


def ask_for_rebuilds() -> None:
    """Queue rebuilds, which write the rows of existing chunks; until then keyword searches read the chunks' texts."""
    connection = op.get_bind()
    jobs = sa.table(
        "jobs",
        *map(sa.column, ("team_id", "job_id", "project_id", "type", "status", "dedupe_key")),
        *map(sa.column, ("progress", "attempts", "run_after")),
        sa.column("payload_json", sa.JSON()),
        sa.column("cancel_requested", sa.Boolean()),
        sa.column("created_at", sa.DateTime(timezone=True)),
        sa.column("updated_at", sa.DateTime(timezone=True)),
    )
    now = datetime.now(UTC)
    for team_id, project_id in connection.execute(_WITHOUT_PENDING_REBUILD).all():
        connection.execute(
            sa.insert(jobs).values(
                team_id=team_id,
                job_id=str(uuid4()),
                project_id=project_id,
                type="rebuild_index",
                status="pending",
                dedupe_key="rebuild_index",
                progress=0,
                attempts=0,
                run_after=0.0,
                payload_json={},
                cancel_requested=False,
                created_at=now,
                updated_at=now,
            )
        )
