"""the installation's model"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None

_VERSIONS = sa.table(
    "embedding_versions",
    sa.column("name", sa.String()),
    sa.column("is_external", sa.Boolean()),
    sa.column("created_at", sa.DateTime(timezone=True)),
)
_PROJECTS = sa.table("projects", sa.column("embedding_version", sa.String()))


def upgrade() -> None:
    """An installation that exists keeps the newest model that a namespace uses, or else the newest that there is."""
    installation = op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("embedding_version", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["embedding_version"],
            ["embedding_versions.name"],
            name=op.f("fk__installation__embedding_versions"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk__installation")),
    )
    used = set(op.get_bind().scalars(sa.select(_PROJECTS.c.embedding_version).distinct()))
    newest_first = sa.select(_VERSIONS.c.name).where(~_VERSIONS.c.is_external).order_by(_VERSIONS.c.created_at.desc())
    names = list(op.get_bind().scalars(newest_first))
    for name in [each for each in names if each in used][:1] or names[:1]:
        op.bulk_insert(installation, [{"id": 1, "embedding_version": name}])


def downgrade() -> None:
    op.drop_table("installation")
