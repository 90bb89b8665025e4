"""Index the attempts that say why a task did not succeed, for the pages.

The index has no entry for an attempt that succeeds: its message is null from beginning to end, so that
PostgreSQL still rewrites such a row without touching any index.
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0019"
branch_labels = None
depends_on = None

NAME = "ix_task_attempt_told"
IS_TOLD = sa.text("message IS NOT NULL")


def upgrade() -> None:
    op.create_index(NAME, "task_attempt", ["task_pk"], sqlite_where=IS_TOLD, postgresql_where=IS_TOLD)


def downgrade() -> None:
    op.drop_index(NAME, table_name="task_attempt")
