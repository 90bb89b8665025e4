"""Add the alerts that sinks are to get, and how long each took."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "alert_outbox",
        sa.Column("pk", BIG_INT, nullable=False),
        sa.Column("sink", sa.String(length=64), nullable=False),
        sa.Column("diaSourceId", sa.BigInteger(), nullable=False),
        sa.Column("partition_key", sa.BigInteger(), nullable=False),
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("visit", sa.BigInteger(), nullable=False),
        sa.Column("detector", sa.Integer(), nullable=False),
        sa.Column("midpointMjdTai", sa.Double(), nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("status_code", sa.SmallInteger(), nullable=False),
        sa.Column("n_attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(length=1024), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sentMjdTai", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_alert_outbox")),
        sa.UniqueConstraint("sink", "diaSourceId", name=op.f("uq_alert_outbox_sink_diaSourceId")),
    )
    for columns in (["sink", "status_code"], ["sink", "instrument", "visit", "detector"]):
        op.create_index(op.f("ix_alert_outbox_" + "_".join(columns)), "alert_outbox", columns)
    op.create_table(
        "alert_timing",
        sa.Column("diaSourceId", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("visit", sa.BigInteger(), nullable=False),
        sa.Column("detector", sa.Integer(), nullable=False),
        sa.Column("shutterCloseMjdTai", sa.Double(), nullable=False),
        sa.Column("associatedMjdTai", sa.Double(), nullable=False),
        sa.Column("writtenMjdTai", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("diaSourceId", name=op.f("pk_alert_timing")),
    )
    op.create_index(
        op.f("ix_alert_timing_instrument_visit_detector"), "alert_timing", ["instrument", "visit", "detector"]
    )


def downgrade() -> None:
    op.drop_table("alert_timing")
    op.drop_table("alert_outbox")
