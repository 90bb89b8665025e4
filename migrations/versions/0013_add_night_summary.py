"""Add where detectors looked that have been associated, and a summary of each night."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
COUNTS = ("n_dia_sources", "n_new_objects", "n_updated_objects", "n_forced_sources", "n_alerts")


def upgrade() -> None:
    op.create_table(
        "association_footprint",
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("visit", BIG_INT, autoincrement=False, nullable=False),
        sa.Column("detector", sa.Integer(), autoincrement=False, nullable=False),
        *(
            sa.Column(name, sa.Double(), nullable=False)
            for name in ("midpoint_mjd_tai", "dec_min", "dec_max")
        ),
        sa.Column("region", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("instrument", "visit", "detector", name=op.f("pk_association_footprint")),
    )
    op.create_index(
        op.f("ix_association_footprint_instrument_midpoint_mjd_tai"),
        "association_footprint",
        ["instrument", "midpoint_mjd_tai"],
    )
    op.create_table(
        "night_summary",
        sa.Column("task_id", sa.String(length=255), nullable=False),
        sa.Column("instrument", sa.String(length=64), nullable=False),
        *(
            sa.Column(name, sa.Integer(), nullable=False)
            for name in ("day_obs", "n_visits", "n_detectors", "n_done", "n_failed")
        ),
        *(sa.Column(name, BIG_INT, nullable=False) for name in COUNTS),
        *(
            sa.Column(name, sa.Double(), nullable=True)
            for name in ("latency_median_s", "latency_p95_s", "latency_max_s")
        ),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_night_summary")),
    )
    op.create_index(op.f("ix_night_summary_instrument_day_obs"), "night_summary", ["instrument", "day_obs"])


def downgrade() -> None:
    op.drop_table("night_summary")
    op.drop_table("association_footprint")
