"""Tell the false detections that injected sources bring from those that are there anyway."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

TABLES = ("search_depth", "efficiency")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("n_false_new", sa.Integer(), nullable=True))


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "n_false_new")
