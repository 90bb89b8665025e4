"""Create the tables of exposures and visits."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "exposure",
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("exposure", BIG_INT, autoincrement=False, nullable=False),
        sa.Column("obs_id", sa.String(length=128), nullable=False),
        sa.Column("day_obs", sa.Integer(), nullable=False),
        sa.Column("seq_num", BIG_INT, nullable=False),
        sa.Column("band", sa.String(length=8), nullable=False),
        sa.Column("physical_filter", sa.String(length=64), nullable=False),
        sa.Column("begin_mjd_tai", sa.Double(), nullable=False),
        sa.Column("end_mjd_tai", sa.Double(), nullable=False),
        sa.Column("exposure_time_s", sa.Double(), nullable=False),
        sa.Column("observation_type", sa.String(length=64), nullable=False),
        sa.Column("target_name", sa.String(length=128), nullable=False),
        sa.Column("science_program", sa.String(length=128), nullable=False),
        sa.Column("group_name", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("instrument", "exposure", name=op.f("pk_exposure")),
    )
    op.create_table(
        "visit_system",
        sa.Column("visit_system", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("visit_system", name=op.f("pk_visit_system")),
        sa.UniqueConstraint("name", name=op.f("uq_visit_system_name")),
    )
    op.create_table(
        "raw",
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("exposure", BIG_INT, autoincrement=False, nullable=False),
        sa.Column("detector", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("size", BIG_INT, nullable=False),
        sa.Column("modified_ns", BIG_INT, nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("region", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instrument", "exposure"],
            ["exposure.instrument", "exposure.exposure"],
            name=op.f("fk_raw_instrument_exposure_exposure"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("instrument", "exposure", "detector", name=op.f("pk_raw")),
        sa.UniqueConstraint("path", name=op.f("uq_raw_path")),
    )
    op.create_table(
        "visit",
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("visit_system", sa.Integer(), nullable=False),
        sa.Column("visit", BIG_INT, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("day_obs", sa.Integer(), nullable=False),
        sa.Column("seq_num", BIG_INT, nullable=False),
        sa.Column("band", sa.String(length=8), nullable=False),
        sa.Column("physical_filter", sa.String(length=64), nullable=False),
        sa.Column("begin_mjd_tai", sa.Double(), nullable=False),
        sa.Column("end_mjd_tai", sa.Double(), nullable=False),
        sa.Column("exposure_time_s", sa.Double(), nullable=False),
        sa.Column("target_name", sa.String(length=128), nullable=False),
        sa.Column("science_program", sa.String(length=128), nullable=False),
        sa.Column("region", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["visit_system"], ["visit_system.visit_system"], name=op.f("fk_visit_visit_system_visit_system")
        ),
        sa.PrimaryKeyConstraint("instrument", "visit_system", "visit", name=op.f("pk_visit")),
    )
    op.create_index(op.f("ix_visit_instrument_day_obs"), "visit", ["instrument", "day_obs"], unique=False)
    op.create_table(
        "visit_definition",
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("visit_system", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("visit", BIG_INT, autoincrement=False, nullable=False),
        sa.Column("exposure", BIG_INT, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["instrument", "exposure"],
            ["exposure.instrument", "exposure.exposure"],
            name=op.f("fk_visit_definition_instrument_exposure_exposure"),
        ),
        sa.ForeignKeyConstraint(
            ["instrument", "visit_system", "visit"],
            ["visit.instrument", "visit.visit_system", "visit.visit"],
            name=op.f("fk_visit_definition_instrument_visit_system_visit_visit"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "instrument", "visit_system", "visit", "exposure", name=op.f("pk_visit_definition")
        ),
    )
    op.create_table(
        "visit_detector_region",
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("visit_system", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("visit", BIG_INT, autoincrement=False, nullable=False),
        sa.Column("detector", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("region", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instrument", "visit_system", "visit"],
            ["visit.instrument", "visit.visit_system", "visit.visit"],
            name=op.f("fk_visit_detector_region_instrument_visit_system_visit_visit"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "instrument", "visit_system", "visit", "detector", name=op.f("pk_visit_detector_region")
        ),
    )
    op.create_table(
        "visit_system_membership",
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("visit_system", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("visit", BIG_INT, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["instrument", "visit_system", "visit"],
            ["visit.instrument", "visit.visit_system", "visit.visit"],
            name=op.f("fk_visit_system_membership_instrument_visit_system_visit_visit"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "instrument", "visit_system", "visit", name=op.f("pk_visit_system_membership")
        ),
    )


def downgrade() -> None:
    for table in (
        "visit_system_membership",
        "visit_detector_region",
        "visit_definition",
        "visit",
        "raw",
        "visit_system",
        "exposure",
    ):
        op.drop_table(table)
