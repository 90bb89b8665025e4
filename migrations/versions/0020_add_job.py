"""Add the jobs by which executors run parts of tasks elsewhere."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC = sa.DateTime(timezone=True)
TABLE = "job"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("pk", BIG_INT, nullable=False),
        sa.Column("executor", sa.String(length=64), nullable=False),
        sa.Column("submission", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("external_id", sa.String(length=64), nullable=True),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("family", sa.String(length=255), nullable=False),
        sa.Column("module", sa.String(length=255), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("asked", sa.JSON(), nullable=True),
        sa.Column("folder", sa.String(length=1024), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=True),
        sa.Column("submitter_pk", BIG_INT, nullable=True),
        sa.Column("run_pk", BIG_INT, nullable=True),
        sa.Column("since", UTC, nullable=False),
        sa.Column("created", UTC, nullable=False),
        sa.Column("started", UTC, nullable=True),
        sa.Column("ended", UTC, nullable=True),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_job")),
        sa.UniqueConstraint("submission", "number", name=op.f("uq_job_submission_number")),
        sa.ForeignKeyConstraint(
            ["submitter_pk"], ["run.pk"], name=op.f("fk_job_submitter_pk_run"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["run_pk"], ["run.pk"], name=op.f("fk_job_run_pk_run"), ondelete="SET NULL"),
    )
    op.create_index(op.f("ix_job_owner"), TABLE, ["owner"])


def downgrade() -> None:
    op.drop_table(TABLE)
