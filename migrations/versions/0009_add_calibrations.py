"""Add calibrations and the times for which they hold."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "calibration",
        sa.Column("pk", BIG_INT, nullable=False),
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("detector", sa.Integer(), nullable=False),
        sa.Column("physical_filter", sa.String(length=64), nullable=False),
        sa.Column("begin_mjd_tai", sa.Double(), nullable=True),
        sa.Column("end_mjd_tai", sa.Double(), nullable=True),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("task_id", sa.String(length=255), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("statistics", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_calibration")),
        sa.UniqueConstraint("path", name=op.f("uq_calibration_path")),
    )
    op.create_index(
        op.f("ix_calibration_instrument_detector_kind"), "calibration", ["instrument", "detector", "kind"]
    )


def downgrade() -> None:
    op.drop_table("calibration")
