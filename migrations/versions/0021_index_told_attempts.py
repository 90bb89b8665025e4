"""Index the attempts that say why a task did not succeed, and the visits of tasks, for the pages.

Neither changes while a task runs: the message of an attempt that succeeds is null from beginning to end, so
that PostgreSQL still rewrites such a row without touching any index. Tasks without a visit have no entry.
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

TOLD, VISIT = "ix_task_attempt_told", "ix_task_visit"
IS_TOLD = sa.text("message IS NOT NULL")
VISIT_TEXT = sa.text("(parameters ->> 'visit')")
HAS_VISIT = sa.text("(parameters ->> 'visit') IS NOT NULL")


def upgrade() -> None:
    op.create_index(TOLD, "task_attempt", ["task_pk"], sqlite_where=IS_TOLD, postgresql_where=IS_TOLD)
    op.create_index(VISIT, "task", [VISIT_TEXT], sqlite_where=HAS_VISIT, postgresql_where=HAS_VISIT)


def downgrade() -> None:
    op.drop_index(VISIT, table_name="task")
    op.drop_index(TOLD, table_name="task_attempt")
